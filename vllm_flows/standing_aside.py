"""Pods of before that hold the room which the wanted ones wait for. Pure.

Kubernetes ends unready pods of older templates only within the limits of the rollout: with a surge
and no room, the old ones that fail and the new one that waits stand against each other for ever
(kubernetes pkg/controller/deployment/rolling.go, `reconcileOldReplicaSets`).
"""

from __future__ import annotations

from collections.abc import Iterable

from vllm_flows.diagnosis_categories import Category
from vllm_flows.selectors import Object, owned_by

_TEMPLATE = "deployment.kubernetes.io/revision"
"""On Deployments and ReplicaSets: the number of the template, by the Deployment controller."""

LACKS_ROOM = {Category.NO_FREE_GPU, Category.NO_ROOM}
"""What pods of before that end can mend."""


def in_the_way(
    deployment: Object, replica_sets: Iterable[Object], *, answering: bool = False
) -> list[Object]:
    """Return the Deployment's ReplicaSets of older templates that have pods, none of them ready.

    `answering`: also those that have ready pods. None while the controller has not seen the newest
    template yet.
    """
    seen = (deployment.get("status") or {}).get("observedGeneration", 0)
    if seen < deployment["metadata"].get("generation", 0):
        return []
    return [
        one
        for one in owned_by(deployment, replica_sets)
        if _template(one) != _template(deployment)
        and one["spec"].get("replicas")
        and (answering or not serves(one))
    ]


def newest_sets(deployment: Object, replica_sets: Iterable[Object]) -> list[Object]:
    """Return the Deployment's ReplicaSet of its newest template, if it has pods."""
    return [
        one
        for one in owned_by(deployment, replica_sets)
        if _template(one) == _template(deployment) and one["spec"].get("replicas")
    ]


def serves(replica_set: Object) -> bool:
    """Say whether a ReplicaSet has ready pods."""
    return bool((replica_set.get("status") or {}).get("readyReplicas"))


def _template(item: Object) -> object:
    return (item["metadata"].get("annotations") or {}).get(_TEMPLATE)
