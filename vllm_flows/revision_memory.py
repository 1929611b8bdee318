"""What is remembered of tracked revisions between two looks, and when an event is due. Pure.

An event is claimed in the memory first, then sent, and asked for at a later look: it counts as
told once the Prefect server has it. Its id follows from the claim, so that an event that is sent
again is the same one. Whoever finds a fresh claim leaves the event to who claimed it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import TypeAdapter, ValidationError

from vllm_flows.models import Model
from vllm_flows.revision_class import MOVED, Change

HOLD_SECONDS = 120.0
"""How long an event is left to who claimed it: sending it takes a second or two."""
RETOLD_SECONDS = 24 * 3600.0
"""After so long a change that is still to be rolled out is told anew: who heard of it may have
been told no, or nobody agreed in time."""
MOST_AGAIN = 3
"""So often within that time a change is told anew because its update died: what kills it may be
the update itself."""

_TIPS = "tips"
_TOLD = "told"
_QUIET = "quiet-until"

Part = TypeVar("Part")


@dataclass(frozen=True)
class Tip:
    """What a revision stood for when the Hub was last asked; `etag` is that answer's.

    `name` is the repository's own id, which differs from the one asked for once it was renamed,
    `identity` is the Hub's, which no name ever changes.
    """

    commit: str
    etag: str = ""
    gated: str = "no"
    name: str = ""
    identity: str = ""


@dataclass(frozen=True)
class Told:
    """An event about a model: claimed `since` then, last sent at `sent` (seconds since the epoch).

    `arrived`: the Prefect server was seen to have it. `rules` is what models.yaml allowed of the
    repository when it was judged. `again` is how often the change was told anew because its update
    died. `refused` is as in `Seen`, None where it is not known.
    """

    old: str
    new: str
    change: str
    since: float
    sent: float
    reasons: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    rules: str = ""
    arrived: bool = False
    again: int = 0
    refused: str | None = None

    def is_held(self, now: float) -> bool:
        """Say whether it is left to who claimed it, and to who hears of it, a little longer."""
        return abs(now - self.sent) < HOLD_SECONDS

    def id_for(self, place: str, model: str) -> UUID:
        """Return the event's id; `place` tells the cluster and its namespace from others."""
        return uuid5(NAMESPACE_URL, "/".join([place, model, self.old, self.new, str(self.since)]))


@dataclass(frozen=True)
class Memory:
    """All that is remembered: tips by `repository@revision`, events by the model's name.

    The Hub asked not to be asked before `quiet_until` (seconds since the epoch).
    """

    tips: Mapping[str, Tip] = field(default_factory=dict)
    told: Mapping[str, Told] = field(default_factory=dict)
    quiet_until: float = 0.0


@dataclass(frozen=True)
class Seen:
    """One model at one look: what is served, what its revision stands for, and what that means.

    `refused`: why the commit that it stands for did not do when it was tried, empty where it was
    not. `unproven`: the commit that `runs` was not seen to answer. Where that is the change that is
    told, `now` is that commit, wherever the revision stands by now, and `served` the one before.
    `stays`: it does so whatever it answers.
    """

    model: str
    repository: str
    ref: str
    served: str = ""
    now: str = ""
    change: Change = Change.NONE
    reasons: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    rules: str = ""
    refused: str = ""
    unproven: bool = False
    runs: str = ""
    stays: bool = False

    @property
    def asks(self) -> str:
        """The command that asks what was not seen to answer, empty where it was."""
        command = "vllm-flows install" if self.stays else f"vllm-flows update {self.model}"
        return command if self.unproven else ""

    @property
    def to_roll_out(self) -> bool:
        """Say whether the change is one that an update would bring: it was not tried before."""
        to_bring = {Change.CONFIGURATION, Change.WEIGHTS, Change.ASK}
        return self.change in to_bring and not self.refused


def tip_key(model: Model) -> str:
    """Return the name under which the tip of the model's revision is remembered."""
    return f"{model.model_url}@{model.revision}"


def rules_of(model: Model) -> str:
    """Return what models.yaml allows of the model's repository, in a word."""
    return f"{model.allow_pickle:d}{model.allow_unsafe:d}{model.trust_remote_code}"


def remembered(memory: Memory, model: Model, served: str, now: str) -> Told | None:
    """Return how this very change was judged before, under the same rules; None when it was not."""
    told = memory.told.get(model.name)
    if told is None or told.change not in MOVED:
        return None
    same = (told.old, told.new, told.rules) == (served, now, rules_of(model))
    return told if same else None


def read_memory(data: Mapping[str, str]) -> Memory:
    """Return what the texts hold; what is not as we write it is forgotten."""
    return Memory(
        tips=_part(dict[str, Tip], data.get(_TIPS)) or {},
        told=_part(dict[str, Told], data.get(_TOLD)) or {},
        quiet_until=_part(float, data.get(_QUIET)) or 0.0,
    )


def _part(kind: type[Part], text: str | None) -> Part | None:
    try:
        return TypeAdapter(kind).validate_json(text or "null")
    except ValidationError:
        return None


def written(memory: Memory) -> dict[str, str]:
    """Return the memory as texts; equal memories give equal texts."""

    def text(parts: Mapping[str, Any]) -> str:
        return json.dumps({name: asdict(one) for name, one in parts.items()}, sort_keys=True)

    quiet = {_QUIET: str(memory.quiet_until)} if memory.quiet_until else {}
    return {_TIPS: text(memory.tips), _TOLD: text(memory.told), **quiet}


def claimed(
    memory: Memory,
    seen: Iterable[Seen],
    listed: Collection[str],
    now: float,
    died: Collection[str] = (),
) -> tuple[Memory, tuple[str, ...]]:
    """Return the memory once the events that are due now are claimed, and their models.

    Models that are not `listed` any more, and those that serve what they should, are forgotten.
    What was told of models in `died` led to an update that has ended before its end, or to none.
    """
    told = {model: one for model, one in memory.told.items() if model in listed}
    due = []
    for one in seen:
        before = told.get(one.model)
        if one.change is Change.NONE:
            told.pop(one.model, None)
        elif one.change in MOVED:
            told[one.model], is_due = _claim(one, before, now, died=one.model in died)
            due += [one.model] if is_due else []
    return replace(memory, told=told), tuple(due)


def _claim(seen: Seen, before: Told | None, now: float, *, died: bool) -> tuple[Told, bool]:
    """Return the event as it is claimed from now on, and whether it is due."""
    told = (before.old, before.new, before.change) if before else None
    same = before if told == (seen.served, seen.now, seen.change) else None
    old = bool(same and seen.to_roll_out and now - same.since >= RETOLD_SECONDS)
    again = bool(same and not old and died and same.again < MOST_AGAIN)
    lasts = None if old or again else same
    claim = Told(
        old=seen.served,
        new=seen.now,
        change=str(seen.change),
        since=lasts.since if lasts else now,
        sent=now,
        reasons=seen.reasons,
        files=seen.files,
        rules=seen.rules,
        again=same.again + again if same and not old else 0,
        refused=seen.refused,
    )
    if lasts and (lasts.arrived or lasts.is_held(now)):
        return replace(claim, sent=lasts.sent, arrived=lasts.arrived), False
    return claim, True


def with_arrived(memory: Memory, models: Collection[str]) -> Memory:
    """Return the memory once the events of these models are known to be with the server."""
    told = {
        model: replace(one, arrived=True) if model in models else one
        for model, one in memory.told.items()
    }
    return replace(memory, told=told)
