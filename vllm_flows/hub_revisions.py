"""What the Hub says of tracked revisions: where they stand now, and what lies at a commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from vllm_flows.errors import HubUnavailableError
from vllm_flows.hub import Hub, files_of, gate_of, license_of
from vllm_flows.hub_client import RefusedError, SilentError
from vllm_flows.hub_silence import Silence, explain_silence
from vllm_flows.models import Model
from vllm_flows.repository_facts import plain
from vllm_flows.revision_memory import Tip, tip_key
from vllm_flows.revisions import Contents

ASKED_AT_ONCE = 16


@dataclass
class Tips:
    """Asks where revisions stand, each once, and only what has changed since `before`.

    A Hub that is silent once is not asked again: all others would wait as long for nothing. It is
    not asked either before `quiet_until` (seconds since the epoch), which moves when it says so.
    """

    hub: Hub
    before: Mapping[str, Tip]
    quiet_until: float = 0.0
    wall: Callable[[], float] = time.time
    found: dict[str, Tip] = field(default_factory=dict, init=False)
    refused: set[str] = field(default_factory=set, init=False)
    silence: HubUnavailableError | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def ask(self, models: Collection[Model]) -> None:
        """Ask for the revisions of these models, those that several share once."""
        wait = self.quiet_until - self.wall()
        if wait > 0:
            silence = Silence("it asked for a pause", after=wait, status=429)
            self.silence = explain_silence(silence, self.hub.question("", "", ""))
            return
        self.quiet_until = 0.0
        distinct = {tip_key(model): model for model in models}
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            list(pool.map(self._ask, distinct.values()))

    def _ask(self, model: Model) -> None:
        if self.silence:
            return
        key = tip_key(model)
        try:
            self.found[key] = self._tip(model, self.before.get(key))
        except RefusedError:
            self.refused.add(key)
        except SilentError as error:
            question = self.hub.question("", model.model_url, model.revision)
            with self._lock:
                self.silence = explain_silence(error.silence, question)
                if error.silence.after:
                    until = self.wall() + error.silence.after
                    self.quiet_until = max(self.quiet_until, until)

    def _tip(self, model: Model, before: Tip | None) -> Tip:
        etag = before.etag if before else ""
        answer = self.hub.client().tip(model.model_url, model.revision, etag)
        if answer is None and before:
            return before
        document, etag = answer or ({}, "")
        return Tip(
            commit=document["sha"],
            etag=plain(etag),
            gated=gate_of(document.get("gated")),
            name=plain(document.get("id") or model.model_url),
            identity=plain(document.get("_id") or ""),
        )


def contents_of(hub: Hub, repository: str, commit: str) -> Contents | None:
    """Return what lies at a commit; None when the Hub has it no more, or shows it to nobody.

    Raises HubUnavailableError when the Hub does not answer.
    """
    try:
        info = hub.client().model_info(repository, commit)
        return Contents(tuple(files_of(info)), {}, license_of(info), gate_of(info.gated))
    except RefusedError:
        return None
    except SilentError as error:
        raise explain_silence(error.silence, hub.question("", repository, commit)) from error
