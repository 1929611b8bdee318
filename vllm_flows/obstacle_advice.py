"""What is said where replicas find no room: each node's reason, and the way out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

from vllm_flows.errors import PlacementError
from vllm_flows.nodes import GPU
from vllm_flows.obstacles import Demand, Kind, Obstacle
from vllm_flows.weights_manifests import claim_name

_NAMED = 4
"""Nodes that a sentence names one by one; the others are counted."""

_NOT_MEANT = {Kind.LABEL, Kind.NO_GPU}
"""Nodes for other work; they decide on the way out only when there are no others."""

_LAST = {Kind.SMALL_GPUS}
"""Nodes that no command opens to the model as it is; the others decide before them."""

_WAYS_OUT = {
    Kind.TOGETHER: (
        "lower replicaCount, or set VLLM_STORAGE_ACCESS_MODE=ReadWriteMany with a StorageClass "
        "that offers it (a volume that exists keeps its mode)"
    ),
    Kind.TAKEN: (
        "kubectl get pods -A -o wide shows who holds the room; lower replicaCount or the "
        "requests, remove a model, or add a node"
    ),
    Kind.CORDONED: "kubectl uncordon {node}",
    Kind.NOT_READY: "kubectl describe node {node} says what is wrong with it",
    Kind.TAINT: (
        "kubectl taint nodes {node} {details}- opens it to all pods; or use another node, or a "
        "RuntimeClass that tolerates the taint (models.yaml has no tolerations)"
    ),
    Kind.VOLUME: (
        "kubectl -n {namespace} describe pvc {claim} shows who uses it; make room on the node "
        "that has the volume, or make it anew with VLLM_STORAGE_ACCESS_MODE=ReadWriteMany"
    ),
    Kind.SMALL_GPUS: (
        "raise requestGPU and vllmConfig.tensorParallelSize in models.yaml until these GPUs do, "
        "or free or add a node with larger ones"
    ),
    Kind.TOO_SMALL: (
        "lower {details} in models.yaml, or add a larger node; kubectl describe nodes"
    ),
    Kind.LABEL: (
        "correct nodeSelector in models.yaml (or the RuntimeClass's); "
        "kubectl get nodes --show-labels"
    ),
    Kind.NO_GPU: (
        "kubectl describe node {node} lists nvidia.com/gpu under Allocatable once NVIDIA's device "
        "plugin runs there; or add a node with GPUs"
    ),
}


def no_room(demand: Demand, obstacles: Sequence[Obstacle]) -> PlacementError:
    """Say of each node why it does not do, and what to do about the commonest reason."""
    decisive = _decisive(obstacles)
    kind = decisive.kind if decisive else None
    ordered = sorted(obstacles, key=lambda one: (one is not decisive, one.kind is not kind))
    named = [f"{one.node}: {one.text}" for one in ordered[:_NAMED]]
    rest = Counter(one.text for one in ordered[_NAMED:])
    named += [
        f"{count} more node{'s' * (count > 1)}: {text}" for text, count in rest.most_common(_NAMED)
    ]
    return PlacementError(
        f"no room for {_replicas(demand)} now",
        why="; ".join(named) or "the cluster has no nodes",
        next_command=_way_out(demand, decisive) if decisive else "add one; kubectl get nodes",
        model=demand.model,
    )


def _decisive(obstacles: Iterable[Obstacle]) -> Obstacle | None:
    """Return one of the commonest kind: the one with the least to change.

    What would be lifted in vain decides only where there is nothing else.
    """
    everything = list(obstacles)
    wanted = [one for one in everything if one.kind not in _NOT_MEANT] or everything
    meant = [one for one in wanted if one.kind not in _LAST] or wanted
    helping = [one for one in meant if not one.in_vain] or meant
    counts = Counter(one.kind for one in helping)
    return min(
        helping, key=lambda one: (-counts[one.kind], one.kind, len(one.details)), default=None
    )


def _way_out(demand: Demand, obstacle: Obstacle) -> str:
    steps = (_step_out(demand, one) for one in (obstacle, *obstacle.further))
    return "; then ".join(steps)


def _step_out(demand: Demand, obstacle: Obstacle) -> str:
    return _WAYS_OUT[obstacle.kind].format(
        node=obstacle.node,
        details=" and ".join(obstacle.details),
        namespace=demand.namespace,
        claim=claim_name(demand.model),
    )


def _replicas(demand: Demand) -> str:
    gpus = demand.needs.resources.get(GPU, Decimal(0))
    each = f" with {gpus} GPUs" if gpus > 1 else " with a GPU" if gpus else ""
    if demand.replicas == 1:
        return f"a replica{each}"
    where = " on one node" if demand.together else ""
    return f"{demand.replicas} replicas{each}{' each' if each else ''}{where}"
