"""The cluster's room for a model's replicas, from what was seen of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from vllm_flows.errors import PlacementError
from vllm_flows.manifests import GPU_TOLERATION
from vllm_flows.models import Model
from vllm_flows.nodes import GPU, Needs, Node, nodes_of
from vllm_flows.observed import ClusterState, Surroundings
from vllm_flows.obstacles import Demand
from vllm_flows.placement import Placement, candidates, place
from vllm_flows.quantities import parse_quantity
from vllm_flows.quota import within_quotas
from vllm_flows.scale_down import remaining
from vllm_flows.settings import Settings
from vllm_flows.storage import Storage, may_part

Object = Mapping[str, Any]

_NAMED = 3
_ANY_TAINT = {"operator": "Exists"}
"""Tolerates all taints."""


@dataclass(frozen=True)
class Wanted:
    """New replicas of a model; `small_gpus` are hosts whose GPUs do not do, each with its words."""

    model: Model
    replicas: int
    small_gpus: Mapping[str, str] = field(default_factory=dict)


def unknown_room(around: Surroundings) -> tuple[str, ...]:
    """Say what this account may not see, and what is therefore not checked."""
    unseen = {
        "nodes": (around.nodes, "whether a GPU is free, and how large it is, is not known"),
        "pods of all namespaces": (around.pods, "which GPUs are taken is not known"),
        "storageclasses": (around.storage_classes, "the StorageClass is not checked"),
        "resourcequotas": (around.quotas, "whether the namespace's quota has room is not known"),
    }
    return tuple(
        f"no right to list {what}: {consequence}"
        for what, (seen, consequence) in unseen.items()
        if seen is None
    )


def unknown_gpus(around: Surroundings) -> tuple[str, ...]:
    """Say which nodes do not tell how large their GPUs are."""
    nodes = nodes_of(around.nodes or (), ())
    silent = [one.name for one in nodes if one.allocatable.get(GPU) and not one.gpu_memory]
    if not silent:
        return ()
    more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
    told = f"nothing tells the size of the GPUs on {', '.join(silent[:_NAMED])}{more}"
    label = f"label {GPU}.memory, which NVIDIA's GPU feature discovery writes"
    return (f"{told} ({label}): whether models fit them is not known",)


def needs_of(model: Model, around: Surroundings) -> Needs:
    """Return what one replica asks of a node: models.yaml's requests and the RuntimeClass's own.

    Tolerations and labels are those that `values` give the engine.
    """
    runtime = around.runtime_class or {}
    scheduling = runtime.get("scheduling") or {}
    overhead = (runtime.get("overhead") or {}).get("podFixed") or {}
    resources = {
        "cpu": parse_quantity(str(model.request_cpu)),
        "memory": parse_quantity(model.request_memory),
        GPU: Decimal(model.request_gpu),
        "pods": Decimal(1),
    }
    for name, text in overhead.items():
        resources[name] = resources.get(name, Decimal(0)) + parse_quantity(str(text))
    return Needs(
        resources={name: amount for name, amount in resources.items() if amount},
        labels=(*(scheduling.get("nodeSelector") or {}).items(), *model.node_selector.items()),
        tolerations=(GPU_TOLERATION, *(scheduling.get("tolerations") or ())),
    )


def possible_nodes(model: Model, state: ClusterState) -> list[Node]:
    """Return the nodes that could take a replica if nothing else ran there; none when unknown."""
    nodes = nodes_of(state.around.nodes or (), ())
    barred = _out_of_reach(state.around.volumes.get(model.name) or {}, nodes)
    needs = needs_of(model, state.around)
    return candidates(nodes, Demand(model.name, 1, needs, volume_elsewhere=barred))


def parting(model: Model, settings: Settings, state: ClusterState) -> tuple[str, ...]:
    """Say that a new pod beside the old one may come to where the volume is not; else nothing."""
    storage = Storage(model, state.claims.get(model.name), settings)
    return may_part(storage, state.engine_nodes(model.name), possible_nodes(model, state))


def meant_nodes(model: Model, state: ClusterState) -> list[Node]:
    """Return the nodes with the labels and as many GPUs as a replica asks for.

    Whether a taint, the volume or another resource keeps it off them is not looked at.
    """
    needs = needs_of(model, state.around)
    gpus = replace(needs, resources={GPU: Decimal(model.request_gpu)}, tolerations=(_ANY_TAINT,))
    nodes = nodes_of(state.around.nodes or (), ())
    return candidates(nodes, Demand(model.name, 1, gpus))


def find_room(
    wanted: Sequence[Wanted], stays: Mapping[str, int], settings: Settings, state: ClusterState
) -> dict[str, Placement]:
    """Return where each model's new replicas would go; nothing where no node can be seen.

    Of each model in `stays` only so many pods are left, the others count as ended. Without the
    right to see the pods of all namespaces, only what no empty node could take is a problem.
    What the namespace's quota has no room for is one, unless pods end that cannot be seen.
    """
    around = state.around
    pods = around.pods or ()
    left = remaining(pods, stays, settings.namespace)
    nodes = nodes_of(around.nodes or (), left)
    ended = {model for model, count in stays.items() if not count}
    demands = [_demand(one, settings, state, nodes, ended) for one in wanted if one.replicas]
    found = place(demands, nodes)[0] if around.nodes is not None else {}
    if not around.quotas or (around.pods is None and stays):
        return found
    return within_quotas(found, demands, around.quotas, _gone(pods, left, settings.namespace))


def _gone(pods: Iterable[Object], left: Iterable[Object], namespace: str) -> list[Object]:
    """Return the pods of the namespace that are not left."""
    staying = {id(pod) for pod in left}
    return [
        pod
        for pod in pods
        if id(pod) not in staying and pod["metadata"].get("namespace") == namespace
    ]


def _demand(
    wanted: Wanted,
    settings: Settings,
    state: ClusterState,
    nodes: Sequence[Node],
    ended: Collection[str],
) -> Demand:
    model = wanted.model
    users = frozenset() if model.name in ended else state.engine_nodes(model.name)
    storage = Storage(model, state.claims.get(model.name), settings)
    volume = state.around.volumes.get(model.name) or {}
    return Demand(
        model.name,
        wanted.replicas,
        needs_of(model, state.around),
        small_gpus=wanted.small_gpus,
        volume_elsewhere=_volume_elsewhere(volume, storage, users, nodes),
        together=storage.once,
        namespace=settings.namespace,
    )


def _volume_elsewhere(
    volume: Object, storage: Storage, users: Collection[str], nodes: Sequence[Node]
) -> dict[str, str]:
    """Name the hosts that cannot reach the volume: it is another's, or in use on another."""
    barred = _out_of_reach(volume, nodes)
    if storage.once and users:
        where = ", ".join(sorted(users))
        barred |= {
            node.host: f"its ReadWriteOnce volume is in use on {where}"
            for node in nodes
            if node.name not in users
        }
    return barred


def _out_of_reach(volume: Object, nodes: Sequence[Node]) -> dict[str, str]:
    return {
        node.host: "its volume cannot be used there" for node in nodes if not _reaches(volume, node)
    }


def _reaches(volume: Object, node: Node) -> bool:
    """Say whether the volume's node affinity admits the node; terms are alternatives."""
    required = ((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required") or {}
    terms = required.get("nodeSelectorTerms") or []
    return not terms or any(
        all(_matches(expression, node) for expression in term.get("matchExpressions") or [])
        for term in terms
    )


def _matches(expression: Object, node: Node) -> bool:
    """Evaluate one expression of a volume's affinity; provisioners write In and Exists."""
    value, operator = node.labels.get(expression["key"]), str(expression["operator"])
    values: Sequence[str] = expression.get("values") or ()
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    return (value is not None) == (operator != "DoesNotExist")


def runtime_class_missing(model: Model, settings: Settings, around: Surroundings) -> bool:
    """Say whether the engines' RuntimeClass was looked for and is not there."""
    asked = settings.runtime_class and around.runtime_class is not None
    return bool(asked and model.replica_count and not around.runtime_class)


def no_runtime_class(model: Model, settings: Settings) -> PlacementError:
    """Return the problem that there is no such RuntimeClass."""
    name = settings.runtime_class
    return PlacementError(
        f"the cluster has no RuntimeClass {name}",
        why="the API would refuse the engine's pods",
        next_command=f"install the NVIDIA GPU operator, or make RuntimeClass {name}; or set "
        "VLLM_RUNTIME_CLASS= (empty) where the node's default runtime knows GPUs",
        model=model.name,
    )


def forbidden_by_level(
    model: Model, settings: Settings, around: Surroundings
) -> PlacementError | None:
    """Return the problem that the namespace enforces Pod Security `restricted`.

    The chart's pods run as the image's user, with capabilities: they meet `baseline`.
    """
    if around.pod_security != "restricted" or not model.replica_count:
        return None
    return PlacementError(
        "the namespace's Pod Security level forbids the engine's pods",
        why="it enforces `restricted`; the chart's pods meet `baseline`",
        next_command=f"kubectl label --overwrite namespace {settings.namespace} "
        "pod-security.kubernetes.io/enforce=baseline   (or choose another, VLLM_NAMESPACE)",
        model=model.name,
    )
