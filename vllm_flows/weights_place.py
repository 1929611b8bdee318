"""Where a model's weights Job runs: where its engine does, or could. Pure."""

from __future__ import annotations

from decimal import Decimal

from vllm_flows.capacity import possible_nodes
from vllm_flows.errors import PlacementError
from vllm_flows.manifests import WEIGHTS_REQUESTS
from vllm_flows.models import Model
from vllm_flows.nodes import HOSTNAME, lacking, nodes_of
from vllm_flows.observed import MODEL_LABEL, ClusterState, Surroundings
from vllm_flows.placement import Placement
from vllm_flows.quantities import parse_quantity
from vllm_flows.quota import beyond_quota
from vllm_flows.settings import Settings
from vllm_flows.storage import Storage
from vllm_flows.weights_refusals import refused_beforehand


def weights_hosts(
    model: Model, place: Placement | None, settings: Settings, state: ClusterState
) -> tuple[str, ...]:
    """Return the hosts where the weights Job may run: where the engine runs, or could run.

    Beside the engine where its ReadWriteOnce volume is in use; else where there is room for the
    new replicas; else wherever the engine could run at all. Empty when that is not known.
    """
    users = state.engine_nodes(model.name)
    if users and Storage(model, state.claims.get(model.name), settings).once:
        return tuple(sorted({_host(name, state.around) for name in users}))
    if place and place.nodes:
        return tuple(sorted(set(place.nodes)))
    return tuple(sorted({node.host for node in possible_nodes(model, state)}))


def _host(name: str, around: Surroundings) -> str:
    for node in around.nodes or ():
        if node["metadata"]["name"] == name:
            return str((node["metadata"].get("labels") or {}).get(HOSTNAME, name))
    return name


def no_room_for_weights(
    model: Model, hosts: tuple[str, ...], settings: Settings, state: ClusterState
) -> PlacementError | None:
    """Return the problem that the API would refuse the Job's pod, or that no host has room for it.

    It runs before any pod is stopped, beside all that runs now, and the namespace's quota counts
    it too. None where that is not known, where nodes come when pods wait, and where a Job of the
    model is at work already.
    """
    around = state.around
    if any(_fetches(pod["metadata"].get("labels") or {}, model) for pod in around.pods or ()):
        return None
    refused = refused_beforehand(model, settings, around.weights_refusal)
    if refused:
        return refused
    needs = {name: parse_quantity(text) for name, text in WEIGHTS_REQUESTS.items()}
    one_more = {**needs, "pods": Decimal(1)}
    beyond = beyond_quota(one_more, around.quotas or (), {}, settings.namespace, model.name)
    if beyond:
        return beyond
    if around.nodes is None or around.pods is None or not hosts or settings.autoscaling:
        return None
    nodes = [node for node in nodes_of(around.nodes, around.pods) if node.host in hosts]
    short = {node.host: lacking(node, needs) for node in nodes}
    if not short or not all(short.values()):
        return None
    missing = "; ".join(f"{host}: too little {' and '.join(short[host])}" for host in sorted(short))
    asked = " and ".join(f"{text} {name}" for name, text in WEIGHTS_REQUESTS.items())
    return PlacementError(
        "no room for the Job that fetches its weights",
        why=f"it takes {asked} beside what runs ({missing})",
        next_command="kubectl get pods -A -o wide shows who holds the room; lower requestCPU or "
        "requestMemory, or add a node",
        model=model.name,
    )


def _fetches(labels: dict[str, str], model: Model) -> bool:
    return labels.get(MODEL_LABEL) == model.name
