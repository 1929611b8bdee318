"""Let the older pods of a model serve until the new ones were seen to answer; then end them well.

A run that ends meanwhile leaves a Deployment that is held, from where the next run goes on, and
marked pods, of which that one lets each finish what it is answering.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.handover import wait_gone
from tasks.running import ONCE, RETRIED, say, speaker, task
from vllm_flows.cluster import Object
from vllm_flows.diagnosis import rollout_complete
from vllm_flows.diagnosis_refusals import is_observed
from vllm_flows.errors import ClusterError, CompletionError, TimedOutError
from vllm_flows.holding import RELEASED, held, is_set_aside, paused, resumed
from vllm_flows.observe import ENGINE_SELECTOR
from vllm_flows.overlap import (
    UNMARKED,
    has_both,
    is_draining,
    is_ending,
    is_marked,
    is_reached,
    leaving,
    leftovers,
    mark,
    marked_in_vain,
    nobodys,
    out_of_reach,
    runs,
    still_answering,
    surges_whole,
)
from vllm_flows.replicas import Replica
from vllm_flows.selectors import owned_by, selected
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds
from vllm_flows.standing_aside import in_the_way, newest_sets, serves
from vllm_flows.waiting import Pending, wait_for

_MADE_SECONDS = 10.0
_SOON_SECONDS = 0.1
_HEARD_SECONDS = 2.0
"""In which every router has heard that it is not to ask the pod any more."""
_POLL_SECONDS = 0.5


@task(task_run_name="hold the older pods of {subject}", **RETRIED)
def hold(session: Session, subject: str, deployment: str) -> bool:
    """Hold the rollout where all new pods start beside the old ones; say whether it is held."""
    del subject  # it names the task
    try:
        found = wait_for(
            lambda: _with_both(session, deployment),
            seconds=_MADE_SECONDS,
            every=_SOON_SECONDS,
            say=lambda _: None,
            out_of_time=TimedOutError,
            clock=session.clock,
        )
    except TimedOutError:  # not all could be made: they wait as for any other change
        return False
    if found:
        session.cluster.merge("Deployment", deployment, held(found))
    return bool(found)


def _with_both(session: Session, name: str) -> Object | Pending:
    """Return the Deployment once it has old and new pods; an empty one where it never will."""
    deployment = session.cluster.get("Deployment", name)
    if deployment is None or not surges_whole(deployment) or rollout_complete(deployment):
        return {}
    return deployment if has_both(deployment) else Pending("the new pods are being made")


def let_go(session: Session, deployment: str) -> None:
    """Let a rollout go on that was held.

    No task: it is also done where a run is interrupted, and Prefect begins no more of them.
    """
    if session.cluster.get("Deployment", deployment) is not None:
        session.cluster.merge("Deployment", deployment, RELEASED)


@task(task_run_name="drain the older pods of {subject}", **ONCE)
def drain(session: Session, subject: str, deployment: str) -> None:
    """End the older pods of a held Deployment: no new requests, then each when it has none left.

    After `drain_timeout` they end in any case.
    """
    found = session.cluster.get("Deployment", deployment)
    if found is None:
        return
    older = in_the_way(found, session.cluster.find("ReplicaSet"), answering=True)
    pods = [pod for one in older for pod in _taken_from(session, found, one)]
    if not pods:
        return
    _end_well(session, subject, pods, "older")


@task(task_run_name="set the newer pods of {subject} aside", **ONCE)
def set_aside(session: Session, subject: str, deployment: str) -> None:
    """End the newest pods of a held Deployment as `drain` ends older ones, where these serve.

    The Deployment is paused, or it made others. `resume` it once its template is another.
    """
    found = session.cluster.get("Deployment", deployment)
    sets = session.cluster.find("ReplicaSet")
    if found is None or not any(map(serves, in_the_way(found, sets, answering=True))):
        return
    count = sum(one["spec"].get("replicas", 0) for one in owned_by(found, sets))
    session.cluster.merge("Deployment", deployment, paused(found, count))
    _wait_observed(session, deployment)
    pods = [pod for one in newest_sets(found, sets) for pod in _taken_from(session, found, one)]
    if pods:
        _end_well(session, subject, pods, "newer")


def strategy_of(session: Session, deployment: str) -> Object:
    """Return how a Deployment replaces its pods; empty where it is gone."""
    found = session.cluster.get("Deployment", deployment) or {"spec": {}}
    strategy: Object = found["spec"].get("strategy") or {}
    return strategy


def resume(session: Session, deployment: str, strategy: Object | None = None) -> None:
    """Let a Deployment go on that was paused; without a helm meanwhile, with its `strategy`.

    No task, as `let_go` is none.
    """
    if session.cluster.get("Deployment", deployment) is not None:
        session.cluster.merge("Deployment", deployment, resumed(strategy))


def _wait_observed(session: Session, deployment: str) -> None:
    """Wait until the controller knows of the last change. Raises TimedOutError after 10 seconds."""

    def observed() -> bool | Pending:
        found = session.cluster.get("Deployment", deployment)
        return not found or is_observed(found) or Pending(f"{deployment} was not looked at yet")

    wait_for(
        observed,
        seconds=_MADE_SECONDS,
        every=_SOON_SECONDS,
        say=lambda _: None,
        out_of_time=TimedOutError,
        clock=session.clock,
    )


def _end_well(session: Session, subject: str, pods: Sequence[Object], which: str) -> None:
    """End pods that get no new requests, each when it has none left, or after `drain_timeout`."""
    _let_finish(session, subject, pods, which)
    for pod in pods:
        session.cluster.delete("Pod", pod["metadata"]["name"])


def _taken_from(session: Session, deployment: Object, replica_set: Object) -> list[Object]:
    """Take the pods away from their ReplicaSet, which would make others, and from all who ask."""
    cluster, name = session.cluster, str(replica_set["metadata"]["name"])
    labels = ",".join(f"{key}={value}" for key, value in selected(replica_set).items())
    pods = cluster.find("Pod", labels)
    for pod in pods:
        cluster.merge("Pod", pod["metadata"]["name"], mark())
    cluster.delete("ReplicaSet", name, alone=True)
    wait_gone(session, "ReplicaSet", name)
    for pod in pods:
        cluster.merge("Pod", pod["metadata"]["name"], out_of_reach(deployment, replica_set))
    return pods


def _let_finish(session: Session, subject: str, pods: Sequence[Object], which: str) -> None:
    """Wait until pods that get no new requests have none left, at most for `drain_timeout`."""
    text = f"{len(pods)} {which} replicas get no more requests, and finish those they have"
    speaker(subject)(text)
    session.clock.sleep(_HEARD_SECONDS)
    _wait_idle(session, subject, pods)


def _wait_idle(session: Session, subject: str, pods: Sequence[Object]) -> None:
    def ask() -> bool | Pending:
        busy = still_answering([_requests(session, pod) for pod in pods])
        return Pending(busy) if busy else True

    limit = session.settings.drain_timeout.total_seconds()
    try:
        wait_for(
            ask,
            seconds=limit,
            every=_POLL_SECONDS,
            say=speaker(subject),
            out_of_time=TimedOutError,
            clock=session.clock,
        )
    except TimedOutError as error:
        end = f"they end all the same after {human_seconds(limit)} (VLLM_DRAIN_TIMEOUT)"
        speaker(subject)(f"{error.what}: {end}")


def _requests(session: Session, pod: Object) -> int | str:
    """Return how many requests a pod has, or why nobody knows; none of one that is gone.

    What does not answer may still be at work: the way to it, or its /metrics, may be at fault.
    """
    name = str(pod["metadata"]["name"])
    try:
        with session.replica_api(Replica(name, str(pod["status"].get("podIP") or "")), None) as api:
            return api.requests()
    except CompletionError as error:
        why = error.what
    try:
        return why if runs(session.cluster.get("Pod", name)) else 0
    except ClusterError as error:
        return error.what


def delete_leftovers(session: Session) -> None:
    """Bring to its end what an interrupted run left; take the mark from what serves on.

    Older pods first get no more requests, and finish those they have, as in `drain`. What was
    paused goes on before helm writes a surge that is too small for the pods of both templates.
    """
    cluster = session.cluster
    engines = cluster.find("Deployment", ENGINE_SELECTOR)
    for engine in filter(is_set_aside, engines):
        resume(session, engine["metadata"]["name"])
    pods = cluster.find("Pod", ENGINE_SELECTOR)
    if any(map(is_marked, pods)):
        pods = _nobodys(session, pods)
    answering = [pod for pod in pods if is_draining(pod) and not is_ending(pod)]
    for pod in filter(is_reached, answering):
        cluster.merge("Pod", pod["metadata"]["name"], nobodys(pod))
    if answering:
        _let_finish(session, "left by an interrupted run", answering, "older")
    for one in leftovers(pods, engines):
        if cluster.delete(one.kind, one.name):
            say(f"{one.kind} {one.name} was left by an interrupted run, and serves nobody: deleted")


def _nobodys(session: Session, pods: list[Object]) -> list[Object]:
    """Take the mark from pods that serve on; return all, once none is about to lose its owner."""
    cluster = session.cluster
    sets = cluster.find("ReplicaSet")
    for name in marked_in_vain(pods, sets):
        cluster.merge("Pod", name, UNMARKED)
    for name in (gone := leaving(pods, sets)):
        wait_gone(session, "ReplicaSet", name)
    return cluster.find("Pod", ENGINE_SELECTOR) if gone else pods
