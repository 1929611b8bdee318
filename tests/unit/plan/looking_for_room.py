"""Room looked for on nodes as the API describes them, and what is said where there is none."""

from __future__ import annotations

from typing import Any

from vllm_flows.capacity import Wanted, find_room
from vllm_flows.models import Model
from vllm_flows.observed import ClusterState, Release, ReleaseState, Surroundings
from vllm_flows.placement import Placement
from vllm_flows.settings import load_settings

RWX = {"storage_access_mode": "ReadWriteMany"}


def a_model(name: str = "qwen", **fields: Any) -> Model:
    gpus = fields.get("requestGPU", 1)
    parallel = {"vllmConfig": {"tensorParallelSize": gpus}} if gpus > 1 else {}
    return Model(name=name, modelURL=f"org/{name}", **parallel, **fields)


def a_state(*nodes: Any, pods: Any = (), **fields: Any) -> ClusterState:
    around = Surroundings(nodes=nodes, pods=tuple(pods), **fields.pop("around", {}))
    return ClusterState(Release(ReleaseState.ABSENT), around=around, **fields)


def room(state: ClusterState, *models: Model, stays: Any = None, **settings: Any) -> Any:
    wanted = [Wanted(model, model.replica_count) for model in models]
    return find_room(wanted, stays or {}, load_settings(**settings), state)


def why(found: dict[str, Placement], model: str = "qwen") -> str:
    problem = found[model].problem
    assert problem
    return f"{problem.what}: {problem.why}"


def tainted(make: Any, name: str, key: str, **fields: Any) -> Any:
    node = make.node(name, **fields)
    node["spec"]["taints"] = [{"key": key, "effect": "NoSchedule"}]
    return node


def way_out(found: dict[str, Placement], model: str = "qwen") -> str:
    problem = found[model].problem
    assert problem
    return problem.next_command
