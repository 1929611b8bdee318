"""Ask the cluster how the models are: one quick look, and a closer one at what is not well."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vllm_flows.kubectl import read_objects
from vllm_flows.status import (
    ROUTER,
    UNHEALTHY,
    Health,
    Status,
    deployment_of,
    next_of,
    status_of,
)

if TYPE_CHECKING:
    from vllm_flows.cluster import Cluster
    from vllm_flows.settings import Settings

_KINDS = {
    "deployments": "Deployment",
    "pods": "Pod",
    "services": "Service",
    "persistentvolumeclaims": "PersistentVolumeClaim",
}


def read_status(settings: Settings, listed: Mapping[str, int]) -> list[Status]:
    """Return how the models and the router are; `listed` are the replicas that models.yaml wants.

    Raises ClusterError, and ClusterUnavailableError when the API does not answer.
    """
    objects = read_objects(list(_KINDS), settings.namespace, settings.kube_context)
    if objects is None:
        objects = _from_cluster(settings)
    wanted = {**listed, ROUTER: settings.routers}
    found = status_of(objects, wanted, settings.namespace, datetime.now(UTC))
    if not any(_is_unwell(one) for one in found):
        return found
    cluster = _connected(settings)  # one for all: each would log in anew
    return [
        _diagnosed(one, objects, cluster, settings) if _is_unwell(one) else one for one in found
    ]


def _is_unwell(status: Status) -> bool:
    """Say whether it is to be looked at closely: why it is so is not known yet."""
    return status.health in {*UNHEALTHY, Health.UNSETTLED} and not status.diagnosis


def _from_cluster(settings: Settings) -> list[dict[str, Any]]:
    cluster = _connected(settings)
    # Items of a list do not carry their kind.
    return [{**item, "kind": kind} for kind in _KINDS.values() for item in cluster.find(kind)]


def _connected(settings: Settings) -> Cluster:
    from vllm_flows.cluster import Cluster

    return Cluster.connect(settings.namespace, settings.kube_context)


def _diagnosed(
    status: Status, objects: Sequence[Any], cluster: Cluster, settings: Settings
) -> Status:
    """Say why it is not ready, and what to do."""
    from vllm_flows.diagnosis_watch import ReadinessWatch

    deployment = deployment_of(objects, status.name)
    if deployment is None:
        return status
    watch = ReadinessWatch(cluster, time.monotonic, autoscaling=settings.autoscaling)
    found = watch.diagnose(dict(deployment))
    return replace(
        status,
        diagnosis=found.summary,
        category=str(found.category),
        next_command=next_of(status, found.next_command),
    )
