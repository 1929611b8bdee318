"""Why a Deployment gets no new pods: they are refused (ReplicaFailure), or it is paused. Pure.

The words are those of the admission plugins in kubernetes 1.36.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vllm_flows.diagnosis_categories import Category, Diagnosis, Object, Place, place_of
from vllm_flows.holding import is_set_aside

_KINDS: Sequence[tuple[Category, re.Pattern[str], str]] = tuple(
    (category, re.compile(pattern), summary)
    for category, pattern, summary in (
        (
            Category.QUOTA,
            r"exceeded quota",
            "the namespace's quota has no room for the pod",
        ),
        (
            Category.QUOTA,
            r"failed quota",
            "the namespace's quota demands a limit or request that the pod does not have",
        ),
        (
            Category.POD_SECURITY,
            r"violates PodSecurity",
            "the namespace's Pod Security level forbids the pod",
        ),
        (
            Category.RUNTIME_CLASS,
            r"RuntimeClass \S+ not found",
            "the pod's RuntimeClass is not there",
        ),
    )
)
_PASSES = re.compile(
    r"failed calling webhook|Internal error occurred|try again|timed? ?out"
    r'|serviceaccount "default" not found'
)
"""Refusals that the next try may not meet; a new namespace gets its account a moment later."""


def refusal(deployment: Object, live_pods: int, *, making_room: bool) -> Diagnosis | None:
    """Return why pods of the newest template are refused, None when they are not.

    `live_pods` of the newest template are there: with all of them, what is refused are pods of
    an older one. `making_room`: pods are ending, which frees a part of the quota.
    """
    if not is_observed(deployment) or live_pods >= deployment["spec"].get("replicas", 1):
        return None
    for condition in deployment.get("status", {}).get("conditions") or []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            message = condition.get("message", "")
            return refused(place_of(deployment), message, making_room=making_room)
    return None


def paused(deployment: Object) -> Diagnosis | None:
    """Return that somebody paused the Deployment, which has not all its pods of the newest kind.

    None for a pause of ours: it is a part of what holds the rollout.
    """
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    through = status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted
    ended = (through and is_observed(deployment)) or is_set_aside(deployment)
    if not deployment["spec"].get("paused") or ended:
        return None
    summary = "the Deployment is paused (spec.paused): its pods are not replaced"
    return place_of(deployment).diagnosis(Category.PAUSED, summary, definite=True)


def refused(place: Place, message: str, *, making_room: bool) -> Diagnosis:
    """Return what the API's words of refusal mean; `making_room` as in `refusal`."""
    for category, pattern, summary in _KINDS:
        if pattern.search(message):
            waits = "exceeded quota" in message and making_room
            return place.diagnosis(category, summary, message, definite=not waits)
    definite = not _PASSES.search(message)
    return place.diagnosis(
        Category.REFUSED, "the cluster refuses the pod", message, definite=definite
    )


def is_observed(deployment: Object) -> bool:
    """Say whether the Deployment's status is about the newest template."""
    observed = deployment.get("status", {}).get("observedGeneration", 0)
    return bool(observed >= deployment["metadata"].get("generation", 1))
