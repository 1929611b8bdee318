"""Why somebody refuses the API key that is stored, and the way out.

A pod reads the Secret when it starts, and its mark was made before: one that started while the
Secret held another key has the mark of the right one, and no change of the release replaces it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from vllm_flows.completions import ForbiddenError, KeyRefusedError
from vllm_flows.credentials import Credential
from vllm_flows.errors import VllmFlowsError
from vllm_flows.replicas import Replica
from vllm_flows.session import Session

NOT_BY_ITS_MARK = "its mark is that of the stored key, so it read another when it started"


class OtherKeyError(KeyRefusedError):
    """A pod holds another key than its mark says: only another pod in its place helps."""


class KeyChangedError(KeyRefusedError):
    """The stored key is no longer the one that a run was made for: its new pods hold either."""


def explained(
    session: Session, error: KeyRefusedError, pod: str = "", *, router: bool = False
) -> KeyRefusedError:
    """Return the error with what helps, as far as the marks of the pods tell.

    `pod` is who refused, where that is known; `router` that it was none of the model's pods.
    """
    before = isinstance(error, ForbiddenError) or (router and session.settings.router_url)
    if before:  # it may be somebody before the pod
        return error
    try:
        if (key := session.api_key()) and not key.stored:
            return _given(error, key.source)
        mark = session.key_mark()
        ready = session.router_replicas() if router else session.ready_replicas(error.model or "")
    except VllmFlowsError:  # who may not look is told what is known without
        return error
    asked = [one for one in ready if pod in ("", one.pod)]
    if mark is None or not asked:
        return error
    if any(one.key_mark != mark for one in asked):
        return _with(error, KeyRefusedError, "vllm-flows install")
    return _with(error, OtherKeyError, _another_in_its_place(session, error, asked))


@contextmanager
def explaining_refusals(session: Session) -> Iterator[None]:
    """Explain a refusal of whoever answers for a model, or for all."""
    try:
        yield
    except KeyRefusedError as error:
        raise explained(session, error, router=not error.model) from error


def with_changed_key(
    session: Session, key: Credential | None, failed: Mapping[str, VllmFlowsError]
) -> dict[str, VllmFlowsError]:
    """Return failures of a run, where a key was refused with what became of the stored one.

    `key` is the one that the run was made for.
    """
    refused = {name for name, one in failed.items() if isinstance(one, KeyRefusedError)}
    if key is None or not refused or not _was_changed(session, key):
        return dict(failed)
    return {
        name: KeyChangedError(
            "the stored API key was changed by somebody while this run was at work",
            why=f"{error.what}: {error.why}",
            next_command="vllm-flows install",
            model=name,
        )
        if name in refused
        else error
        for name, error in failed.items()
    }


def _was_changed(session: Session, key: Credential) -> bool:
    try:
        now = session.api_key()
    except VllmFlowsError:  # then nothing is known of it
        return False
    return now is None or not now.stored or now.value != key.value


def _another_in_its_place(session: Session, error: KeyRefusedError, pods: Sequence[Replica]) -> str:
    if len(pods) > 1 and error.model:
        return f"vllm-flows check {error.model} --repair   (finds which replica it is)"
    names = " ".join(one.pod for one in pods)
    return f"kubectl -n {session.settings.namespace} delete pod {names}"


def _given(error: KeyRefusedError, source: str) -> KeyRefusedError:
    next_command = f"vllm-flows set-api-key   (stores the key of {source}; or unset {source})"
    why = f"{source} is another key than the one that is stored; {error.why}"
    return KeyRefusedError(error.what, why=why, next_command=next_command, model=error.model)


def _with(
    error: KeyRefusedError, kind: type[KeyRefusedError], next_command: str
) -> KeyRefusedError:
    why = f"{NOT_BY_ITS_MARK}; {error.why}" if kind is OtherKeyError else error.why
    return kind(error.what, why=why, next_command=next_command, model=error.model)
