"""Where new replicas would go, and in words why they would not. Pure.

A forecast, not the scheduler: what is sure to wait is said, what fits may still be spread another
way by the cluster.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from vllm_flows.errors import PlacementError
from vllm_flows.nodes import GPU, Needs, Node, lacking, missing_label, untolerated_taint

_NAMED = 4
"""Nodes that a sentence names one by one; the others are counted."""


@dataclass(frozen=True)
class Demand:
    """Replicas of one model that have to find room.

    `barred` are hosts that cannot take them, each with the reason (a GPU too small, a volume that
    is elsewhere); `together`: one node must take them all.
    """

    model: str
    replicas: int
    needs: Needs
    barred: Mapping[str, str] = field(default_factory=dict)
    together: bool = False


@dataclass(frozen=True)
class Placement:
    """The hosts that would take the replicas now, one entry each; or why they would not."""

    nodes: tuple[str, ...] = ()
    problem: PlacementError | None = None


def candidates(nodes: Sequence[Node], demand: Demand) -> list[Node]:
    """Return the nodes that would take the model were nothing else on them."""
    return [node for node in nodes if not _never(node, demand)]


def place(
    demands: Sequence[Demand], nodes: Sequence[Node]
) -> tuple[dict[str, Placement], tuple[Node, ...]]:
    """Give room to one model after the other, those with most GPUs per replica first.

    Returns each model's placement and the nodes with what is left.
    """
    left = {node.name: node for node in nodes}
    found = {}
    for demand in sorted(demands, key=_weight, reverse=True):
        trial = dict(left)
        hosts = _place(demand, trial)
        if hosts is None:
            found[demand.model] = Placement(problem=_problem(demand, nodes, left))
        else:
            found[demand.model] = Placement(hosts)
            left = trial
    return found, tuple(left.values())


def _weight(demand: Demand) -> tuple[Decimal, Decimal]:
    resources = demand.needs.resources
    return resources.get(GPU, Decimal(0)), resources.get("memory", Decimal(0))


def _place(demand: Demand, left: dict[str, Node]) -> tuple[str, ...] | None:
    """Take the room out of `left` and return the hosts; None when it is not there."""
    if demand.together and demand.replicas:
        return _place_together(demand, left)
    hosts = []
    for _ in range(demand.replicas):
        node = _best(demand, left.values(), demand.needs.resources)
        if node is None:
            return None
        left[node.name] = _less(node, demand.needs.resources)
        hosts.append(node.host)
    return tuple(hosts)


def _place_together(demand: Demand, left: dict[str, Node]) -> tuple[str, ...] | None:
    total = {name: amount * demand.replicas for name, amount in demand.needs.resources.items()}
    node = _best(demand, left.values(), total)
    if node is None:
        return None
    left[node.name] = _less(node, total)
    return (node.host,) * demand.replicas


def _best(demand: Demand, nodes: Collection[Node], wanted: Mapping[str, Decimal]) -> Node | None:
    """Return the node that is left with the fewest GPUs, so that large models find room."""
    fitting = [node for node in candidates(list(nodes), demand) if not lacking(node, wanted)]
    return min(fitting, key=lambda node: (node.free.get(GPU, 0), node.name), default=None)


def _less(node: Node, taken: Mapping[str, Decimal]) -> Node:
    free = {name: amount - taken.get(name, Decimal(0)) for name, amount in node.free.items()}
    return replace(node, free=free)


def _never(node: Node, demand: Demand) -> str:
    """Say why the node takes no such pod even when it is empty; empty when it would."""
    needs = demand.needs
    label = missing_label(node, needs.labels)
    if label:
        return f"without label {label}"
    taint = untolerated_taint(node, needs.tolerations)
    if taint:
        return f"with taint {taint}"
    if node.host in demand.barred:
        return demand.barred[node.host]
    empty = replace(node, free=node.allocatable)
    return f"too small: {_shortage(empty, demand, 1)}" if lacking(empty, needs.resources) else ""


def _problem(demand: Demand, nodes: Sequence[Node], left: Mapping[str, Node]) -> PlacementError:
    """Say for each node why it does not do, and what to do about the commonest reason."""
    reasons = [_reason(left[node.name], demand) for node in nodes]
    named = [f"{node.name}: {why}" for node, why in zip(nodes, reasons, strict=True)][:_NAMED]
    rest = Counter(reasons[_NAMED:])
    named += [f"{count} more nodes: {why}" for why, count in rest.most_common(_NAMED)]
    return PlacementError(
        f"no room for {_replicas(demand)} now",
        why="; ".join(named) or "the cluster has no nodes",
        next_command=_way_out(demand, nodes),
        model=demand.model,
    )


def _reason(node: Node, demand: Demand) -> str:
    count = demand.replicas if demand.together else 1
    never = _never(node, demand)
    return never or _shortage(node, demand, count) or "room for some of them only"


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


def _replicas(demand: Demand) -> str:
    gpus = demand.needs.resources.get(GPU, Decimal(0))
    each = f" with {gpus} GPUs" if gpus > 1 else " with a GPU" if gpus else ""
    if demand.replicas == 1:
        return f"a replica{each}"
    where = " on one node" if demand.together else ""
    return f"{demand.replicas} replicas{each}{' each' if each else ''}{where}"


def _way_out(demand: Demand, nodes: Sequence[Node]) -> str:
    fitting = candidates(nodes, demand)
    if demand.together and demand.replicas > 1:
        return "set VLLM_STORAGE_ACCESS_MODE=ReadWriteMany with a StorageClass that offers it"
    if fitting:
        return (
            "kubectl get pods -A -o wide shows who holds the room; lower replicaCount or the "
            "requests, remove a model, or add a node"
        )
    if demand.needs.labels:
        return "correct nodeSelector in models.yaml; kubectl get nodes --show-labels"
    return "lower the model's requests in models.yaml, or add a node; kubectl describe nodes"
