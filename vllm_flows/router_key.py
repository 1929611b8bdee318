"""Whether a router knows no model because it holds another API key than the one that is stored.

A router asks each engine for its models with its own key, and an engine that refuses it is none to
it; who asks the router is never refused by it (production-stack 0.1.12). So it is told by what it
lists: an engine that refuses the stored key, or nobody although engines take it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from vllm_flows.completions import (
    BrokenOffError,
    KeyRefusedError,
    NotYetError,
    SilentError,
    UnreachedError,
)
from vllm_flows.errors import CompletionError, VllmFlowsError
from vllm_flows.refused_key import NOT_BY_ITS_MARK, OtherKeyError, explained
from vllm_flows.replicas import Replica
from vllm_flows.session import Session

MET_SECONDS = 30.0
"""A router and an engine that are both ready for longer have met, if they ever will."""
_UNHEARD = (UnreachedError, BrokenOffError, SilentError)


@dataclass(frozen=True)
class Stray:
    """The routers that hold another key than the stored one.

    `pods` are those that do so against their marks; none where the marks say it themselves.
    """

    namespace: str
    pods: tuple[str, ...] = ()

    def error(self, model: str | None = None) -> KeyRefusedError:
        """Say it, with the command that helps."""
        what = "the router holds another API key than the one that is stored"
        if not self.pods:
            why = "the key was changed, and is not installed yet"
            return KeyRefusedError(what, why=why, next_command="vllm-flows install", model=model)
        names = " ".join(self.pods)
        return OtherKeyError(
            what,
            why=f"it lists no engine that takes the stored key; {NOT_BY_ITS_MARK}",
            next_command=f"kubectl -n {self.namespace} delete pod {names}",
            model=model,
        )


def is_unknown(error: VllmFlowsError | None) -> bool:
    """Say whether somebody answered, and that is that the model is not known."""
    return isinstance(error, NotYetError) and not isinstance(error, _UNHEARD)


@contextmanager
def explaining_unknown(session: Session) -> Iterator[None]:
    """Where a router does not know a model that a key keeps from it, say that instead."""
    try:
        yield
    except NotYetError as error:
        found = why_unknown(session, error.model) if error.model and is_unknown(error) else None
        if found is None:
            raise
        raise found from error


def why_unknown(session: Session, model: str) -> KeyRefusedError | None:
    """Return which key keeps the router from a model that has ready replicas.

    None where none does, as far as can be seen now.
    """
    try:
        key, replicas = _stored_key(session), session.ready_replicas(model)
        if key is None or not replicas:
            return None
        for replica in replicas:
            refusal = _refusal(session, replica, key, model)
            if isinstance(refusal, KeyRefusedError):
                return explained(session, refusal, replica.pod)
            if refusal:
                return None
        found = stray(session, [model])
    except VllmFlowsError:  # who may not look is told what is known without
        return None
    return found.error(model) if found else None


def stray(session: Session, taking: Collection[str]) -> Stray | None:
    """Return the routers that hold another key than the stored one; None without any.

    The replicas of the models `taking` take the stored key, and no router is known to lead to
    them. Tells nothing while another run is at work. Raises ClusterError.
    """
    key = _stored_key(session)
    routers = session.router_replicas() if key else []
    if key is None or not routers or session.another_at_work():
        return None
    mark, namespace = session.key_mark(), session.settings.namespace
    if any(one.key_mark != mark for one in routers):
        return Stray(namespace)
    engines = session.engine_replicas()
    lonely = any(_have_met(engines.get(model, ())) for model in taking)
    pods = [
        one.pod
        for one in routers
        if _have_met([one]) and _is_stray(session, one, key, engines, lonely=lonely)
    ]
    return Stray(namespace, tuple(pods)) if pods else None


def _stored_key(session: Session) -> str | None:
    """Return the key to judge by; none where it is not the router of the cluster that is asked."""
    if session.settings.router_url or not session.settings.router_enabled:
        return None
    key = session.api_key()
    return key.value if key and key.stored else None


def _have_met(replicas: Sequence[Replica]) -> bool:
    """Say whether all of these, of which there are some, are ready for long enough."""
    now = datetime.now(UTC)
    begun = (datetime.fromisoformat(one.ready_since) for one in replicas if one.ready_since)
    return bool(replicas) and all((now - each).total_seconds() >= MET_SECONDS for each in begun)


def _is_stray(
    session: Session,
    router: Replica,
    key: str,
    engines: Mapping[str, Sequence[Replica]],
    *,
    lonely: bool,
) -> bool:
    """Say whether what it lists are engines of another key, or it is `lonely` without a reason."""
    try:
        with session.replica_api(router, key) as api:
            names = [card.name for card in api.listed()]
    except _UNHEARD:
        return False
    except CompletionError:
        names = []
    listed = [(name, one) for name in names for one in engines.get(name, ())]
    refusals = [_refusal(session, one, key, name) for name, one in listed]
    if not names:
        return lonely
    return bool(refusals) and all(isinstance(one, KeyRefusedError) for one in refusals)


def _refusal(session: Session, replica: Replica, key: str, model: str) -> CompletionError | None:
    """Return what an engine has against the key, or why it cannot be heard."""
    try:
        with session.replica_api(replica, key) as api:
            api.listed(model)
    except CompletionError as error:
        return error
    return None
