"""Pods of before that serve beside the new ones until these were seen to answer. Pure.

Kubernetes ends an older pod in the moment that a new one is available. vLLM cuts what it is
answering at SIGTERM, and a router sends requests to a pod until it hears of its end. So where all
new pods have room beside the old ones, the rollout is held (`holding`) while both are there. Later
the old ones are taken away from whoever sends them requests, by their labels, and end when they
have none left. The router of production-stack 0.1.8 to 0.1.12 watches pods by labels, and forgets
one at once that no longer has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vllm_flows.diagnosis_refusals import is_observed
from vllm_flows.holding import has_older, is_held
from vllm_flows.observe import ENGINE_SELECTOR
from vllm_flows.observed import Leftover
from vllm_flows.replicas import ready_replicas
from vllm_flows.selectors import HASH_LABEL, selected

Object = Mapping[str, Any]

DRAINING_LABEL = "vllm-flows.io/draining"
"""On pods of before that only finish what they are answering."""
TRIAL_LABEL = "vllm-flows.io/trial"
"""On a Deployment, and its pod, that tries a commit out of everybody's reach: the model's name."""
RUNNING = ("vllm:num_requests_running", "vllm:num_requests_waiting")
"""Gauges of an engine's /metrics: the requests that it has (vLLM)."""


def surges_whole(deployment: Object) -> bool:
    """Say whether all new pods may start before any old one ends."""
    limits = (deployment["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    replicas = int(deployment["spec"].get("replicas", 1))
    surge = _pods(limits.get("maxSurge", 0), replicas)
    return not _pods(limits.get("maxUnavailable", 0), replicas) and surge >= replicas > 0


def _pods(limit: object, replicas: int) -> int:
    """Return a limit in pods; shares of a surge are rounded up (Kubernetes API reference)."""
    text = str(limit)
    return math.ceil(replicas * int(text[:-1]) / 100) if text.endswith("%") else int(text)


def has_both(deployment: Object) -> bool:
    """Say whether every new pod was made, and old ones are there still."""
    status = deployment.get("status") or {}
    made = status.get("updatedReplicas", 0) == deployment["spec"].get("replicas", 1)
    return is_observed(deployment) and made and has_older(deployment)


def new_are_ready(deployment: Object, newest: Iterable[Object]) -> bool:
    """Say whether all replicas of the newest template are ready."""
    return is_observed(deployment) and len(ready_replicas(newest)) >= deployment["spec"]["replicas"]


def mark() -> dict[str, Any]:
    """Return the fields by which a pod of before is known once nobody owns it."""
    return {"metadata": {"labels": {DRAINING_LABEL: "true"}}}


UNMARKED: Object = {"metadata": {"labels": {DRAINING_LABEL: None}}}
"""The fields that take the mark away again."""


def out_of_reach(*owners: Object) -> dict[str, Any]:
    """Return the fields that take a pod away from its owners, and so from router and Services.

    The release's own label stays, by which the pod is found.
    """
    kept = ENGINE_SELECTOR.partition("=")[0]
    labels = {key for owner in owners for key in selected(dict(owner))} - {kept}
    return {"metadata": {"labels": dict.fromkeys(sorted(labels))}}


def nobodys(pod: Object) -> dict[str, Any]:
    """Return the fields that take a pod out of reach whose owners are gone, or no longer known.

    It keeps the labels by which it is found, and no other.
    """
    kept = {ENGINE_SELECTOR.partition("=")[0], DRAINING_LABEL}
    return {"metadata": {"labels": dict.fromkeys(sorted(_labels(pod).keys() - kept))}}


def is_marked(pod: Object) -> bool:
    """Say whether a run was about to take a pod away from who owns it, or did."""
    return DRAINING_LABEL in _labels(pod)


def is_draining(pod: Object) -> bool:
    """Say whether a pod was left to finish what it was answering, and belongs to nobody."""
    return is_marked(pod) and not pod["metadata"].get("ownerReferences")


def is_reached(pod: Object) -> bool:
    """Say whether a pod that is draining may still be sent requests: a run was killed too early.

    What takes it out of reach takes all labels of its ReplicaSet away at once, this one with them.
    """
    return is_draining(pod) and HASH_LABEL in _labels(pod)


def held_models(deployments: Iterable[Object]) -> frozenset[str]:
    """Return the models whose rollouts are held, with what serves beside what shall."""
    named = {str(_labels(one).get("model", "")): one for one in deployments}
    return frozenset(name for name, one in named.items() if name and is_held(one))


def kept_models(deployments: Iterable[Object]) -> frozenset[str]:
    """Return the models whose rollouts are held and have pods of before, beside new ones."""
    return held_models(filter(has_older, deployments))


def serves_nobody(pod: Object) -> bool:
    """Say whether a pod gets no requests, and the next run deletes it before it places anything."""
    return (is_draining(pod) and not is_reached(pod)) or TRIAL_LABEL in _labels(pod)


def runs(pod: Object | None) -> bool:
    """Say whether a pod may still be at work: a container of it runs, and has come to serve.

    One that still loads, or crashes again and again, never took a request.
    """
    found = ((pod or {}).get("status") or {}).get("containerStatuses") or []
    return any("running" in (one.get("state") or {}) and one.get("started", True) for one in found)


def still_answering(requests: Sequence[int | str]) -> str:
    """Say what older replicas still have to answer, empty when it is nothing.

    Of each how many requests it has, or why nobody knows: then it may have some.
    """
    known = sum(one for one in requests if isinstance(one, int))
    silent = [one for one in requests if isinstance(one, str)]
    parts = [f"older replicas still answer {known} requests"] if known else []
    if silent:
        parts.append(f"{len(silent)} older replicas do not tell what they answer ({silent[0]})")
    return "; ".join(parts)


def leftovers(pods: Iterable[Object], deployments: Iterable[Object]) -> tuple[Leftover, ...]:
    """Return what an interrupted run left, and the next one ends."""
    draining = [
        Leftover("Pod", str(pod["metadata"]["name"]), answering=True, reached=is_reached(pod))
        for pod in pods
        if is_draining(pod)
    ]
    trials = [one for one in deployments if TRIAL_LABEL in _labels(one)]
    return (*draining, *(Leftover("Deployment", str(one["metadata"]["name"])) for one in trials))


def marked_in_vain(pods: Iterable[Object], replica_sets: Iterable[Object]) -> tuple[str, ...]:
    """Return the names of pods that were marked, and whose ReplicaSet stays: they serve on."""
    stay = {str(one["metadata"]["uid"]) for one in replica_sets if not is_ending(one)}
    found = (pod for pod in pods if is_marked(pod) and stay & _owners(pod))
    return tuple(str(pod["metadata"]["name"]) for pod in found)


def leaving(pods: Iterable[Object], replica_sets: Iterable[Object]) -> tuple[str, ...]:
    """Return the names of ReplicaSets that are being deleted, whose pods are soon nobody's."""
    owners = {uid for pod in pods if is_marked(pod) for uid in _owners(pod)}
    found = [one["metadata"] for one in replica_sets if is_ending(one)]
    return tuple(str(one["name"]) for one in found if one["uid"] in owners)


def _owners(pod: Object) -> set[str]:
    return {str(one["uid"]) for one in pod["metadata"].get("ownerReferences") or ()}


def is_ending(item: Object) -> bool:
    """Say whether an object is being deleted."""
    return "deletionTimestamp" in item["metadata"]


def _labels(item: Object) -> Mapping[str, str]:
    found: Mapping[str, str] = item["metadata"].get("labels") or {}
    return found


def requests_in(metrics: str) -> int:
    """Return how many requests an engine has, as its /metrics say.

    Raises ValueError when they do not.
    """
    samples = [line.split() for line in metrics.splitlines() if line.startswith(RUNNING)]
    if not samples:
        raise ValueError("no gauge of requests")
    return int(sum(float(each[-1]) for each in samples))
