"""Why a node does not take a model's replicas, and what to do about it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import IntEnum, auto

from vllm_flows.errors import PlacementError
from vllm_flows.nodes import CORDONED, GPU, Needs, Node, lacking, missing_label, untolerated_taints
from vllm_flows.weights_manifests import claim_name

_NAMED = 4
"""Nodes that a sentence names one by one; the others are counted."""


@dataclass(frozen=True)
class Demand:
    """Replicas of one model that have to find room.

    `small_gpus` and `volume_elsewhere` are hosts that cannot take them for these reasons, each
    with its words; `together`: one node must take them all. `namespace` is the model's.
    """

    model: str
    replicas: int
    needs: Needs
    small_gpus: Mapping[str, str] = field(default_factory=dict)
    volume_elsewhere: Mapping[str, str] = field(default_factory=dict)
    together: bool = False
    namespace: str = ""


class Kind(IntEnum):
    """What stands in the way; what passes or is lifted more easily comes first."""

    TOGETHER = auto()
    TAKEN = auto()
    CORDONED = auto()
    NOT_READY = auto()
    TAINT = auto()
    VOLUME = auto()
    SMALL_GPUS = auto()
    TOO_SMALL = auto()
    LABEL = auto()
    NO_GPU = auto()


@dataclass(frozen=True)
class Obstacle:
    """Why one node does not take a replica; `details` are the taint, or the fields to lower."""

    kind: Kind
    node: str
    text: str
    details: tuple[str, ...] = ()


_NOT_MEANT = {Kind.LABEL, Kind.NO_GPU}
"""Nodes for other work; they decide on the way out only when there are no others."""

_KUBERNETES_OWN = "node.kubernetes.io/"
"""Begins the taints by which the control plane says what is wrong with a node."""

_FIELDS = {
    "cpu": "requestCPU",
    "memory": "requestMemory",
    GPU: "requestGPU (with vllmConfig.tensorParallelSize)",
}

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


def lasting_obstacle(node: Node, demand: Demand) -> Obstacle | None:
    """Return why the node takes no such pod even when it is empty; None when it would.

    Of several reasons, what no command on the cluster would lift.
    """
    label = missing_label(node, demand.needs.labels)
    if label:
        return Obstacle(Kind.LABEL, node.name, f"without label {label}")
    return _unfit(node, demand) or _keeps_out(node, demand)


def _unfit(node: Node, demand: Demand) -> Obstacle | None:
    """Return what the node lacks: resources, memory of its GPUs, a way to the volume."""
    empty = replace(node, free=node.allocatable)
    short = lacking(empty, demand.needs.resources)
    if GPU in short and not node.allocatable.get(GPU):
        return Obstacle(Kind.NO_GPU, node.name, "without a GPU")
    if short:
        fields = tuple(_FIELDS.get(name, name) for name in short)
        text = f"too small: {_shortage(empty, demand, 1)}"
        return Obstacle(Kind.TOO_SMALL, node.name, text, fields)
    if node.host in demand.small_gpus:
        return Obstacle(Kind.SMALL_GPUS, node.name, demand.small_gpus[node.host])
    if node.host in demand.volume_elsewhere:
        return Obstacle(Kind.VOLUME, node.name, demand.volume_elsewhere[node.host])
    return None


def _keeps_out(node: Node, demand: Demand) -> Obstacle | None:
    """Return the taint that is hardest to lift of those that keep the pod off the node."""
    taints = untolerated_taints(node, demand.needs.tolerations)
    return max(
        (_tainted(node, taint) for taint in taints), key=lambda found: found.kind, default=None
    )


def _tainted(node: Node, taint: str) -> Obstacle:
    if taint.startswith(f"{CORDONED}:"):
        return Obstacle(Kind.CORDONED, node.name, f"cordoned (taint {taint})", (taint,))
    kind = Kind.NOT_READY if taint.startswith(_KUBERNETES_OWN) else Kind.TAINT
    return Obstacle(kind, node.name, f"with taint {taint}", (taint,))


def obstacle_now(node: Node, demand: Demand) -> Obstacle:
    """Return why a node that cannot take all replicas now cannot."""
    lasting = lasting_obstacle(node, demand)
    if lasting:
        return lasting
    room_for_one = not lacking(node, demand.needs.resources)
    kind = Kind.TOGETHER if demand.together and room_for_one else Kind.TAKEN
    text = _shortage(node, demand, demand.replicas if demand.together else 1)
    return Obstacle(kind, node.name, text or "room for some of them only")


def _shortage(node: Node, demand: Demand, replicas: int) -> str:
    wanted = {name: amount * replicas for name, amount in demand.needs.resources.items()}
    short = lacking(node, wanted)
    parts = [
        f"{shown(name, node.free.get(name, Decimal(0)))} of {shown(name, wanted[name])} {name} free"
        for name in short
    ]
    return ", ".join(parts)


def shown(resource: str, amount: Decimal) -> str:
    """Write an amount as models.yaml would: memory in Gi, all else in its own unit."""
    if resource in {"memory", "ephemeral-storage"}:
        return f"{max(amount, Decimal(0)) / 1024**3:.4g}Gi"
    return f"{max(amount, Decimal(0)):.4g}"


def no_room(demand: Demand, obstacles: Sequence[Obstacle]) -> PlacementError:
    """Say of each node why it does not do, and what to do about the commonest reason."""
    decisive = _decisive(obstacles)
    first = [one for one in obstacles if decisive and one.kind is decisive.kind]
    ordered = first + [one for one in obstacles if one not in first]
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
    """Return one of the commonest kind: the one with the least to change."""
    everything = list(obstacles)
    meant = [one for one in everything if one.kind not in _NOT_MEANT] or everything
    counts = Counter(one.kind for one in meant)
    return min(meant, key=lambda one: (-counts[one.kind], one.kind, len(one.details)), default=None)


def _way_out(demand: Demand, obstacle: Obstacle) -> str:
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
