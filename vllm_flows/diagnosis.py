"""Why a Deployment's pods are not ready, in one line. Pure: objects in, a diagnosis out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from vllm_flows.diagnosis_categories import (
    Category,
    Diagnosis,
    Object,
    Place,
    claims_of,
    place_of,
)
from vllm_flows.diagnosis_containers import container, creating, loading, pull_fails
from vllm_flows.diagnosis_crashes import PodEvidence, is_running, last_end, statuses_of
from vllm_flows.diagnosis_logs import LOADING_LOG_LINES, LOG_LINES
from vllm_flows.diagnosis_refusals import is_observed, paused, refusal
from vllm_flows.diagnosis_scheduling import unschedulable
from vllm_flows.holding import has_older, is_held
from vllm_flows.status import ASKS

_RANKS = {category: rank for rank, category in enumerate(Category)}
_EVICTIONS_THAT_TELL = 3
_NONE = PodEvidence()
_ENDED_BY_THE_NODE = {"Evicted", "UnexpectedAdmissionError", "NodeLost", "Preempting"}


@dataclass(frozen=True)
class Evidence:
    """What was asked about pods that are not simply ready; all of it may be missing.

    `pods` by name; `nodes` the cluster's, by name; `ending`: pods of the namespace are on their
    way out, and what they hold will be free.
    """

    pods: Mapping[str, PodEvidence] = field(default_factory=dict)
    nodes: Mapping[str, Object] = field(default_factory=dict)
    ending: bool = False


_KEPT = "its older replicas are kept beside the new ones"
_HELD = "its older replicas ended, and its rollout is held"
_BY = "by a run at work or one that was interrupted"


@dataclass(frozen=True)
class Question:
    """What would tell more about one pod: its events, the nodes, a container's log.

    `lines` of the log are enough, none when it is not asked for. `ended`: a run of the container
    came to an end, and what was said then counts. `urgent`: the answer may end the wait, or keep
    it from ending.
    """

    pod: str
    events: bool = False
    nodes: bool = False
    container: str = ""
    lines: int = 0
    ended: bool = False
    urgent: bool = False


def rollout_complete(deployment: Object) -> bool:
    """Say whether all replicas run the newest template, are ready, and no old pod is left."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    return bool(
        is_observed(deployment)
        and status.get("updatedReplicas", 0) == wanted
        and status.get("readyReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )


def diagnose(
    deployment: Object,
    pods: Sequence[Object],
    evidence: Evidence | None = None,
    *,
    autoscaling: bool = False,
) -> Diagnosis:
    """Return the most telling reason why the Deployment is not complete.

    Pods of an earlier template do not count: what was wrong with them may be mended. With
    `autoscaling` nodes come when pods wait, and no lack of room is definite.
    """
    evidence = evidence or Evidence()
    newest = newest_pods(deployment, pods)
    live = [pod for pod in newest if _is_live(pod)]
    ending = evidence.ending or any(map(_is_leaving, pods))
    found = [
        _pod(deployment, pod, _known(pod, pods, evidence), may_change=ending or autoscaling)
        for pod in live
        if not _is_ready(pod)
    ]
    refused = refusal(deployment, len(live), making_room=ending)
    evicted = [pod for pod in newest if _ended_by_node(pod)]
    candidates = [
        *filter(None, [refused, paused(deployment)]),
        *found,
        *_evictions(deployment, evicted, live),
    ]
    if not candidates:
        if is_held(deployment):
            text = f"{_KEPT if has_older(deployment) else _HELD}, {_BY}"
            place = place_of(deployment)
            held = place.diagnosis(Category.STARTING, text)
            return replace(held, next_command=ASKS.format(model=place.model))
        return place_of(deployment).diagnosis(Category.STARTING, "waiting for the rollout")
    chosen = min(candidates, key=lambda each: (not each.definite, _RANKS[each.category]))
    if evicted and chosen.category is not Category.EVICTED:
        return replace(chosen, detail=f"{chosen.detail} ({_eviction(evicted)})".strip())
    return chosen


def _known(pod: Object, pods: Sequence[Object], evidence: Evidence) -> Evidence:
    """Return the evidence with what is known of who holds the pod's volume."""
    held = next(filter(None, (_holds(other, pod) for other in pods)), "")
    if not held:
        return evidence
    name = pod["metadata"]["name"]
    mine = replace(evidence.pods.get(name, _NONE), held=held)
    return replace(evidence, pods={**evidence.pods, name: mine})


def _holds(other: Object, pod: Object) -> str:
    """Say where another pod stays with a claim that this one needs on its own node; "" if not."""
    there, here = other["spec"].get("nodeName"), pod["spec"].get("nodeName")
    if not (there and here) or there == here or not _is_live(other):
        return ""
    if not set(claims_of(other)) & set(claims_of(pod)):
        return ""
    return f"{there}, where pod {other['metadata']['name']} stays"


def newest_pods(deployment: Object, pods: Sequence[Object]) -> list[Object]:
    """Return the pods of the newest template.

    Our values write annotations into a template that differ whenever its pods would. Among those
    that have them, the hash of the pod that was made last counts: it differs after a change by
    hand or of the chart.
    """
    template = deployment["spec"]["template"]["metadata"].get("annotations") or {}
    found = [
        pod
        for pod in pods
        if (pod["metadata"].get("annotations") or {}).items() >= template.items()
    ]
    last = max(found, key=lambda pod: pod["metadata"].get("creationTimestamp") or "", default=None)
    return [pod for pod in found if last is not None and _hash(pod) == _hash(last)]


def _hash(pod: Object) -> str:
    return str((pod["metadata"].get("labels") or {}).get("pod-template-hash", ""))


def questions(deployment: Object, pods: Sequence[Object]) -> list[Question]:
    """Return what would tell more about pods of the newest template; none about a ready one."""
    return [
        _question(pod)
        for pod in newest_pods(deployment, pods)
        if _is_live(pod) and not _is_ready(pod)
    ]


def _question(pod: Object) -> Question:
    name, statuses = pod["metadata"]["name"], statuses_of(pod)
    if not pod["spec"].get("nodeName"):
        return Question(name, events=True, nodes=True, urgent=True)
    unready = next((status for status in statuses if not status.get("ready")), None)
    if unready is None:
        return Question(name, events=True, nodes=True)
    ended, of = last_end(unready) is not None, unready["name"]
    if is_running(unready):
        lines = LOADING_LOG_LINES
        return Question(name, container=of, lines=lines, ended=ended, urgent=ended)
    if ended:
        return Question(name, events=True, container=of, lines=LOG_LINES, ended=True, urgent=True)
    return Question(name, events=True, urgent=pull_fails(unready))


def _pod(deployment: Object, pod: Object, evidence: Evidence, *, may_change: bool) -> Diagnosis:
    place = place_of(deployment, pod)
    known = evidence.pods.get(place.pod, _NONE)
    if not pod["spec"].get("nodeName"):
        nodes = evidence.nodes.values()
        # The scheduler is making room for it, or waits for somebody to open its gate.
        may_change = may_change or bool(pod.get("status", {}).get("nominatedNodeName"))
        message = _unscheduled(pod)
        return unschedulable(place, pod, message, nodes, known.events, may_change=may_change)
    lost = None
    if all(status.get("ready") for status in statuses_of(pod)):
        lost = _lost(place, known, evidence.nodes.get(place.node))
    return lost or _containers(place, pod, known)


def _containers(place: Place, pod: Object, known: PodEvidence) -> Diagnosis:
    engine = "model" in (pod["metadata"].get("labels") or {})
    statuses = statuses_of(pod)
    for status in statuses:
        found = container(place, status, known)
        if found:
            return found
    waiting = [status for status in statuses if "waiting" in (status.get("state") or {})]
    if waiting or not statuses:
        return creating(place, known)
    unready = [status for status in statuses if not status.get("ready")]
    return loading(place, (unready or statuses)[-1], known, engine=engine)


def _lost(place: Place, known: PodEvidence, node: Object | None) -> Diagnosis | None:
    """Return that the pod's node does not answer; Kubernetes replaces the pod after minutes."""
    conditions = (node or {}).get("status", {}).get("conditions") or []
    ready = next((each for each in conditions if each["type"] == "Ready"), None)
    reported = any(event.get("reason") == "NodeNotReady" for event in known.events)
    if ready is None and not reported:
        return None
    if ready is not None and ready["status"] == "True":
        return None
    message = (ready or {}).get("message") or "Node is not ready"
    return place.diagnosis(Category.NODE_LOST, f"node {place.node} does not answer", message)


def _unscheduled(pod: Object) -> str:
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return str(condition.get("message", ""))
    return ""


def _evictions(
    deployment: Object, evicted: Sequence[Object], live: Sequence[Object]
) -> Iterator[Diagnosis]:
    """Yield that the node turned pods out: while no other stands in for them, or too often."""
    definite = len(evicted) >= _EVICTIONS_THAT_TELL
    if definite or (evicted and not live):
        place = place_of(deployment, evicted[-1])
        summary, detail = _eviction(evicted), _status_text(evicted[-1])
        yield place.diagnosis(Category.EVICTED, summary, detail, definite=definite)


def _eviction(evicted: Sequence[Object]) -> str:
    times = f" {len(evicted)} times" if len(evicted) > 1 else ""
    return f"the node turned the pod out{times}: {_status_text(evicted[-1])}"


def _status_text(pod: Object) -> str:
    status = pod.get("status", {})
    return f"{status.get('reason', '')}: {status.get('message', '')}".strip(": ")


def _ended_by_node(pod: Object) -> bool:
    status = pod.get("status", {})
    reason = str(status.get("reason", ""))
    return status.get("phase") == "Failed" and (
        reason in _ENDED_BY_THE_NODE or reason.startswith("OutOf")
    )


def _is_live(pod: Object) -> bool:
    over = pod.get("status", {}).get("phase") in {"Failed", "Succeeded"}
    return not over and not _is_leaving(pod)


def _is_leaving(pod: Object) -> bool:
    """Say whether a pod is on its way out: nothing of it is waited for."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def _is_ready(pod: Object) -> bool:
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions") or []
    )
