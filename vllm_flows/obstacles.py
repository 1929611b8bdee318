"""Why a node does not take a model's replicas, and what would have to go first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import IntEnum, auto
from itertools import accumulate

from vllm_flows.nodes import CORDONED, GPU, Needs, Node, lacking, missing_label, untolerated_taints
from vllm_flows.taints import passes


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
    """Why one node does not take a replica; `details` are the taint, or the fields to lower.

    `further` is what has to go as well, on this node or on others, before there is room.
    """

    kind: Kind
    node: str
    text: str
    details: tuple[str, ...] = ()
    further: tuple[Obstacle, ...] = ()

    @property
    def in_vain(self) -> bool:
        """Say whether there is no room even when it is lifted, with all else that can be."""
        return any(one.kind in {Kind.TOGETHER, Kind.TAKEN} for one in self.further)


_LIFTED = {Kind.CORDONED, Kind.NOT_READY, Kind.TAINT}
"""What a command on the cluster lifts, or what passes."""

_FIELDS = {
    "cpu": "requestCPU",
    "memory": "requestMemory",
    GPU: "requestGPU (with vllmConfig.tensorParallelSize)",
}


def lasting_obstacle(node: Node, demand: Demand) -> Obstacle | None:
    """Return why the node takes no such pod even when it is empty; None when it would.

    Of several reasons, what no command on the cluster would lift.
    """
    return _unfit(node, demand) or next(_closed(node, demand), None)


def _unfit(node: Node, demand: Demand) -> Obstacle | None:
    """Return what the node lacks: labels, resources, memory of its GPUs, a way to the volume."""
    label = missing_label(node, demand.needs.labels)
    if label:
        return Obstacle(Kind.LABEL, node.name, f"without label {label}")
    empty = replace(node, free=node.allocatable)
    short = lacking(empty, demand.needs.resources)
    if GPU in short and not node.allocatable.get(GPU):
        return Obstacle(Kind.NO_GPU, node.name, "without a GPU")
    if short:
        fields = tuple(_FIELDS.get(name, name) for name in short)
        text = f"too small even when empty: {_shortage(empty, demand, 1)}"
        return Obstacle(Kind.TOO_SMALL, node.name, text, fields)
    if node.host in demand.small_gpus:
        return Obstacle(Kind.SMALL_GPUS, node.name, demand.small_gpus[node.host])
    if node.host in demand.volume_elsewhere:
        return Obstacle(Kind.VOLUME, node.name, demand.volume_elsewhere[node.host])
    return None


def _closed(node: Node, demand: Demand) -> Iterator[Obstacle]:
    """Yield the taints that keep the pod off the node, the hardest to lift first."""
    taints = untolerated_taints(node, demand.needs.tolerations)
    found = [_tainted(node, taint) for taint in taints]
    yield from sorted(found, key=lambda one: one.kind, reverse=True)


def _tainted(node: Node, taint: str) -> Obstacle:
    if taint.startswith(f"{CORDONED}:"):
        return Obstacle(Kind.CORDONED, node.name, f"cordoned (taint {taint})", (taint,))
    kind = Kind.NOT_READY if passes(taint.partition(":")[0]) else Kind.TAINT
    return Obstacle(kind, node.name, f"with taint {taint}", (taint,))


def obstacles_now(nodes: Sequence[Node], demand: Demand) -> list[Obstacle]:
    """Return of each node why not all replicas find room now, in the order of the nodes."""
    found = [_obstacle_now(node, demand) for node in nodes]
    closed = [one for one in found if one.kind in _LIFTED and not one.in_vain]
    room = {node.name: _room_for(node, demand) for node in nodes}
    there = sum(room[one.node] for one in found if one.kind is Kind.TAKEN)
    ways = _ways(closed, room, demand.replicas - there)
    return [_with_the_rest(one, ways) if one in closed else one for one in found]


def _obstacle_now(node: Node, demand: Demand) -> Obstacle:
    """Return why the node alone cannot take all replicas, with what is behind that."""
    unfit = _unfit(node, demand)
    if unfit:
        return unfit
    found = [*_closed(node, demand), *_full(node, demand)] or [_partial(node.name)]
    text = ", and ".join(one.text for one in found)
    return replace(found[0], text=text, further=tuple(found[1:]))


def _full(node: Node, demand: Demand) -> Iterator[Obstacle]:
    """Yield that what is free is not enough: for all replicas where they must share a node."""
    text = _shortage(node, demand, demand.replicas if demand.together else 1)
    if text:
        room_for_one = not lacking(node, demand.needs.resources)
        kind = Kind.TOGETHER if demand.together and room_for_one else Kind.TAKEN
        yield Obstacle(kind, node.name, text)


def _partial(node: str) -> Obstacle:
    return Obstacle(Kind.TAKEN, node, "room for some of them only")


def _room_for(node: Node, demand: Demand) -> int:
    """Return how many replicas the resources that are free on the node suffice for."""
    wanted = demand.needs.resources.items()
    each = (node.free.get(name, Decimal(0)) // amount for name, amount in wanted if amount)
    return max(0, int(min(each, default=Decimal(demand.replicas))))


def _ways(
    closed: Sequence[Obstacle], room: Mapping[str, int], missing: int
) -> list[list[Obstacle]]:
    """Return what to lift so that so many replicas find room, each list a way of its own.

    Each that is enough alone; else the easiest that are enough together; none when all are not.
    """
    alone = [[one] for one in closed if room[one.node] >= missing]
    if alone:
        return alone
    easiest = sorted(closed, key=lambda one: (one.kind, -room[one.node]))
    totals = accumulate(room[one.node] for one in easiest)
    enough = next((count for count, total in enumerate(totals, 1) if total >= missing), 0)
    return [easiest[:enough]] if enough else []


def _with_the_rest(one: Obstacle, ways: Sequence[Sequence[Obstacle]]) -> Obstacle:
    """Add what its way asks for beside it; what is on no way is lifted in vain."""
    way = next((way for way in ways if one in way), None)
    if way is None:
        return replace(one, further=(*one.further, _partial(one.node)))
    others = [part for other in way if other is not one for part in (other, *other.further)]
    return replace(one, further=(*one.further, *others))


def _shortage(node: Node, demand: Demand, replicas: int) -> str:
    wanted = {name: amount * replicas for name, amount in demand.needs.resources.items()}
    short = lacking(node, wanted)
    parts = [
        f"{shown(name, node.free.get(name, Decimal(0)))} {name} free, "
        f"{shown(name, wanted[name])} needed"
        for name in short
    ]
    return ", and ".join(parts)


def shown(resource: str, amount: Decimal) -> str:
    """Write an amount as models.yaml would: memory in Gi, all else in its own unit."""
    if resource in {"memory", "ephemeral-storage"}:
        return f"{max(amount, Decimal(0)) / 1024**3:.4g}Gi"
    return f"{max(amount, Decimal(0)):.4g}"
