"""Whether a router knows no model because it holds another API key than the one that is stored.

A router asks each engine for its models with its own key, and an engine that refuses it is none to
it; who asks the router is never refused by it (production-stack 0.1.12). So it is told by what it
lists: engines that refuse the stored key, or none, where its log has that an engine that takes the
stored key refused it. A router that may not look at pods, or does not reach them, lists none too.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from vllm_flows.completions import (
    BrokenOffError,
    ForbiddenError,
    KeyRefusedError,
    NotYetError,
    SilentError,
    UnreachedError,
)
from vllm_flows.errors import CompletionError, RouterError, VllmFlowsError
from vllm_flows.names import ROUTER_CONTAINER
from vllm_flows.refused_key import NOT_BY_ITS_MARK, explained
from vllm_flows.replicas import Replica
from vllm_flows.session import Session

MET_SECONDS = 30.0
"""A router and an engine that are both ready for longer have met, if they ever will."""
_UNHEARD = (UnreachedError, BrokenOffError, SilentError)
_ASKED = re.compile(
    r"Failed to get model names from http://(?P<failed>\S+):\d+/v1/models: (?P<refused>401 )?"
    r"|Found models on pod (?P<found>\S+): "
)
"""What a router writes of an engine that it asked (service_discovery.py of 0.1.8 and 0.1.12)."""
_LOG_LINES = 20_000
"""It asks each engine when it starts, and once an hour at least: when its watch begins anew."""


class LonelyError(RouterError):
    """A router knows no engine, and nothing tells why."""


@dataclass(frozen=True)
class Stray:
    """The routers that keep models from being answered.

    `pods` hold another key than the stored one, against their marks; `lonely` know no engine, and
    nothing tells why. There are neither where the marks themselves say that the key is another.
    """

    namespace: str
    pods: tuple[str, ...] = ()
    lonely: tuple[str, ...] = ()

    def error(self) -> RouterError:
        """Say it, with the command that helps."""
        delete = f"kubectl -n {self.namespace} delete pod {' '.join(self.pods or self.lonely)}"
        what = "the router holds another API key than the one that is stored"
        if self.pods:
            why = f"it lists no engine that takes the stored key; {NOT_BY_ITS_MARK}"
            return RouterError(what, why=why, next_command=delete)
        if self.lonely:
            return LonelyError(
                "the router knows no engine",
                why="engines take the stored key; the router read another one when it started, or "
                "may not look at pods, or does not reach them",
                next_command=f"vllm-flows router-logs   (says which; of a key: {delete})",
            )
        why = "the key was changed, and is not installed yet"
        return RouterError(what, why=why, next_command="vllm-flows install")


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


def why_unknown(session: Session, model: str) -> KeyRefusedError | RouterError | None:
    """Return why the router does not know a model that has ready replicas.

    That is a key that one of them refuses, or the router: one that holds another, or knows nobody.
    None where it is neither, as far as can be seen now.
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
    return found.error() if found else None


def stray(session: Session, taking: Collection[str]) -> Stray | None:
    """Return the routers that keep models from being answered; None without any.

    The replicas of the models `taking` take the stored key. Tells nothing while another run is at
    work. Raises ClusterError.
    """
    key = _stored_key(session)
    routers = [one for one in session.router_replicas() if _have_met([one])] if key else []
    if key is None or not routers or session.another_at_work():
        return None
    mark = session.key_mark()
    if any(one.key_mark != mark for one in routers):
        return Stray(session.settings.namespace)
    found = _judged(session, routers, key, taking)
    return found if found.pods or found.lonely else None


def _judged(
    session: Session, routers: Sequence[Replica], key: str, taking: Collection[str]
) -> Stray:
    """Judge routers that have the mark of the key by what they list and, if nothing, their log."""
    engines = session.engine_replicas()
    hosts = [one.ip for model in taking for one in engines.get(model, ())]
    met = any(_have_met(engines.get(model, ())) for model in taking)
    lists = {one.pod: _listed(session, one, key) for one in routers}
    empty = [pod for pod, names in lists.items() if names == []]
    # Who may not read a log knows nothing from it.
    logs = {pod: session.cluster.log(pod, ROUTER_CONTAINER, _LOG_LINES) for pod in empty if hosts}
    refused = [pod for pod, log in logs.items() if was_refused(log, hosts)]
    others = [
        pod
        for pod, names in lists.items()
        if names and set(names).isdisjoint(taking) and _all_refuse(session, names, engines, key)
    ]
    lonely = [pod for pod in empty if met and pod not in refused]
    return Stray(session.settings.namespace, (*refused, *others), tuple(lonely))


def was_refused(log: str, hosts: Iterable[str]) -> bool:
    """Say whether the last that a router's log has of one of these engines is a 401. Pure."""
    said = {one["failed"] or one["found"]: bool(one["refused"]) for one in _ASKED.finditer(log)}
    return any(said.get(host) for host in hosts)


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


def _listed(session: Session, router: Replica, key: str) -> list[str] | None:
    """Return what a router lists; None where it does not answer as one that knows."""
    try:
        with session.replica_api(router, key) as api:
            return [card.name for card in api.listed()]
    except CompletionError:
        return None


def _all_refuse(
    session: Session, names: Sequence[str], engines: Mapping[str, Sequence[Replica]], key: str
) -> bool:
    """Say whether all engines of these models, of which there are some, refuse the key."""
    listed = [(name, one) for name in names for one in engines.get(name, ())]
    refusals = (_refusal(session, one, key, name) for name, one in listed)
    return bool(listed) and all(
        isinstance(one, KeyRefusedError) and not isinstance(one, ForbiddenError) for one in refusals
    )


def _refusal(session: Session, replica: Replica, key: str, model: str) -> CompletionError | None:
    """Return what an engine has against the key, or why it cannot be heard."""
    try:
        with session.replica_api(replica, key) as api:
            api.listed(model)
    except CompletionError as error:
        return error
    return None
