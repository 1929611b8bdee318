"""Where new replicas would go; `obstacle_advice` says why they would not. Pure.

A forecast, not the scheduler: what is sure to wait is said, what fits may still be spread another
way by the cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from vllm_flows.errors import PlacementError
from vllm_flows.nodes import GPU, Node, lacking
from vllm_flows.obstacle_advice import no_room
from vllm_flows.obstacles import Demand, lasting_obstacle, obstacles_now


@dataclass(frozen=True)
class Placement:
    """The hosts that would take the replicas now, one entry each; or why they would not."""

    nodes: tuple[str, ...] = ()
    problem: PlacementError | None = None


def candidates(nodes: Sequence[Node], demand: Demand) -> list[Node]:
    """Return the nodes that would take the model were nothing else on them."""
    return [node for node in nodes if not lasting_obstacle(node, demand)]


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
            obstacles = obstacles_now([left[node.name] for node in nodes], demand)
            found[demand.model] = Placement(problem=no_room(demand, obstacles))
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
