"""Look around in the cluster, beyond our namespace, as far as this account may."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from vllm_flows.cluster import Cluster, Object
from vllm_flows.errors import ClusterError, NoRightError
from vllm_flows.observed import Surroundings, WeightsClaim
from vllm_flows.overlap import serves_nobody

Found = TypeVar("Found")

_OF_THE_ACCOUNT = re.compile(r'User "[^"]*" cannot \w+ resource')
"""What a refusal says that is about rights, not about the object."""
HOLD_RESOURCES = "status.phase!=Succeeded,status.phase!=Failed"
"""Selects by its fields the pods that take what they request from their nodes."""


def surroundings(
    cluster: Cluster, runtime_class: str, claims: Iterable[WeightsClaim], weights_pod: Object
) -> Surroundings:
    """Read nodes, pods, storage classes, our volumes, the RuntimeClass, the namespace's limits.

    `weights_pod` is one as the Jobs would make: whether the API takes it is asked, nothing written.
    What this account may not see is None; the plan then says so instead of deciding by it.
    """
    return Surroundings(
        nodes=_listed(lambda: cluster.find("Node")),
        pods=_listed(lambda: _pods_that_stay(cluster)),
        storage_classes=_listed(lambda: cluster.find("StorageClass")),
        volumes=_volumes(cluster, claims),
        runtime_class=_permitted(lambda: cluster.get("RuntimeClass", runtime_class) or {})
        if runtime_class
        else None,
        quotas=_listed(lambda: cluster.find("ResourceQuota")),
        pod_security=_enforced(_permitted(lambda: cluster.get("Namespace", cluster.namespace))),
        weights_refusal=_refusal(cluster, weights_pod),
    )


def _volumes(cluster: Cluster, claims: Iterable[WeightsClaim]) -> dict[str, Object]:
    """Return by model the volumes that are bound: one list, as a request each takes long."""
    specs = {claim.model: claim.manifest["spec"] for claim in claims}
    names = {model: spec["volumeName"] for model, spec in specs.items() if spec.get("volumeName")}
    found = _listed(lambda: cluster.find("PersistentVolume")) if names else ()
    there = {one["metadata"]["name"]: one for one in found or ()}
    return {model: there[name] for model, name in names.items() if name in there}


def _pods_that_stay(cluster: Cluster) -> list[Object]:
    """Return the pods that hold resources, but those of ours that go before anything is placed."""
    found = cluster.find("Pod", fields=HOLD_RESOURCES, everywhere=True)
    mine = cluster.namespace
    return [
        one for one in found if not (one["metadata"]["namespace"] == mine and serves_nobody(one))
    ]


def _refusal(cluster: Cluster, pod: Object) -> str:
    """Return the words of admission, "" when it takes the pod or cannot be asked.

    Not patiently: a webhook that does not answer is no reason to wait for a plan.
    """
    try:
        replace(cluster, patience=None).dry_run(pod)
    except NoRightError as error:
        return "" if _OF_THE_ACCOUNT.search(error.why) else error.why
    except ClusterError:
        return ""
    return ""


def _enforced(namespace: Object | None) -> str:
    labels = ((namespace or {}).get("metadata") or {}).get("labels") or {}
    return str(labels.get("pod-security.kubernetes.io/enforce", ""))


def _permitted(ask: Callable[[], Found]) -> Found | None:
    try:
        return ask()
    except NoRightError:
        return None


def _listed(ask: Callable[[], list[Object]]) -> tuple[Object, ...] | None:
    found = _permitted(ask)
    return None if found is None else tuple(found)
