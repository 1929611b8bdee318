"""Where replicas would go, on nodes as the API describes them."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.capacity import Wanted, find_room, needs_of, unknown_room, weights_hosts
from vllm_flows.models import Model
from vllm_flows.nodes import GPU, nodes_of, requests_of
from vllm_flows.observed import (
    ClusterState,
    EnginePod,
    Release,
    ReleaseState,
    Surroundings,
    WeightsClaim,
)
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


def room(state: ClusterState, *models: Model, gone: tuple[str, ...] = (), **settings: Any) -> Any:
    wanted = [Wanted(model, model.replica_count) for model in models]
    return find_room(wanted, gone, load_settings(**settings), state)


def why(found: dict[str, Placement], model: str = "qwen") -> str:
    problem = found[model].problem
    assert problem
    return f"{problem.what}: {problem.why}"


def test_a_model_is_given_the_node_that_has_room(make: Any):
    state = a_state(make.node("a"), make.node("b"), pods=[make.pod("a", 8)])
    assert room(state, a_model())["qwen"] == Placement(("b",))


def test_when_all_gpus_are_taken_each_node_says_how_many_are_free(make: Any):
    state = a_state(make.node("a", 2), make.node("b", 2), pods=[make.pod("a", 2), make.pod("b", 1)])
    text = why(room(state, a_model(requestGPU=2)))
    assert text.startswith("no room for a replica with 2 GPUs now: ")
    assert "a: 0 of 2 nvidia.com/gpu free" in text
    assert "b: 1 of 2 nvidia.com/gpu free" in text


def test_gpus_spread_over_nodes_are_not_enough_for_one_replica(make: Any):
    state = a_state(make.node("a", 2), make.node("b", 2))
    assert "too small: 2 of 4 nvidia.com/gpu free" in why(room(state, a_model(requestGPU=4)))


def test_models_compete_and_the_one_with_most_gpus_comes_first(make: Any):
    state = a_state(make.node("a", 4))
    found = room(state, a_model("small"), a_model("large", requestGPU=4))
    assert found["large"].nodes == ("a",)
    assert found["small"].problem


def test_cpu_and_memory_count_as_well(make: Any):
    state = a_state(make.node("a"))
    assert "96 of 97 cpu free" in why(room(state, a_model(requestCPU=97)))
    assert "512Gi of 600Gi memory free" in why(room(state, a_model(requestMemory="600Gi")))


def test_a_taint_that_the_engine_does_not_tolerate_keeps_it_away(make: Any):
    node = make.node("a")
    node["spec"]["taints"] = [{"key": "team", "value": "x", "effect": "NoSchedule"}]
    assert "a: with taint team:NoSchedule" in why(room(a_state(node), a_model()))


def test_the_gpu_taint_and_a_preference_are_tolerated(make: Any):
    node = make.node("a")
    node["spec"]["taints"] = [
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
        {"key": "team", "effect": "PreferNoSchedule"},
    ]
    assert room(a_state(node), a_model())["qwen"].nodes == ("a",)


def test_a_cordoned_node_takes_nothing(make: Any):
    node = make.node("a")
    node["spec"]["unschedulable"] = True
    assert "unschedulable:NoSchedule" in why(room(a_state(node), a_model()))


def test_a_node_selector_names_the_label_that_is_missing(make: Any):
    model = a_model(nodeSelector={"nvidia.com/gpu.product": "H100"})
    found = room(a_state(make.node("a")), model)
    assert "a: without label nvidia.com/gpu.product=H100" in why(found)
    assert "correct nodeSelector" in found["qwen"].problem.next_command


def test_the_runtime_class_brings_labels_tolerations_and_overhead(make: Any):
    runtime = {
        "scheduling": {
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "pool", "operator": "Exists"}],
        },
        "overhead": {"podFixed": {"memory": "1Gi"}},
    }
    state = a_state(make.node("a"), make.node("b", pool="gpu"), around={"runtime_class": runtime})
    assert room(state, a_model())["qwen"].nodes == ("b",)
    needs = needs_of(a_model(requestMemory="16Gi"), state.around)
    assert needs.resources["memory"] == 17 * 1024**3


def test_replicas_on_a_read_write_once_volume_must_share_a_node(make: Any):
    state = a_state(make.node("a", 1), make.node("b", 1))
    found = room(state, a_model(replicaCount=2))
    assert "no room for 2 replicas with a GPU each on one node now" in why(found)
    assert "VLLM_STORAGE_ACCESS_MODE=ReadWriteMany" in found["qwen"].problem.next_command
    assert set(room(state, a_model(replicaCount=2), **RWX)["qwen"].nodes) == {"a", "b"}


def test_a_new_pod_has_to_be_beside_the_one_that_uses_the_volume(make: Any):
    state = ClusterState(
        Release(ReleaseState.ABSENT),
        pods=(EnginePod("qwen", "a", "c"),),
        around=Surroundings(nodes=(make.node("a", 1), make.node("b", 1)), pods=(make.pod("a"),)),
    )
    text = why(room(state, a_model()))
    assert "b: its ReadWriteOnce volume is in use on a" in text
    assert "a: 0 of 1 nvidia.com/gpu free" in text
    assert room(state, a_model(), **RWX)["qwen"].nodes == ("b",)


def test_a_volume_of_one_zone_keeps_the_engine_in_it(make: Any):
    term = {"key": "zone", "operator": "In", "values": ["z2"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [term]}]}
    volume = {"spec": {"nodeAffinity": {"required": required}}}
    nodes = (make.node("a", zone="z1"), make.node("b", zone="z2"))
    state = a_state(*nodes, around={"volumes": {"qwen": volume}})
    assert room(state, a_model())["qwen"].nodes == ("b",)


def test_what_a_removed_model_holds_counts_as_free(make: Any):
    ours = make.pod("a", 8, namespace="vllm", labels={"model": "old", "helm-release-name": "vllm"})
    state = a_state(make.node("a"), pods=[ours])
    assert room(state, a_model())["qwen"].problem
    assert room(state, a_model(), gone=("old",))["qwen"].nodes == ("a",)


def test_a_model_of_that_name_in_another_namespace_keeps_its_gpus(make: Any):
    theirs = make.pod("a", 8, labels={"model": "old", "helm-release-name": "vllm"})
    assert room(a_state(make.node("a"), pods=[theirs]), a_model(), gone=("old",))["qwen"].problem


def test_without_the_right_to_see_nodes_nothing_is_decided_and_it_is_said():
    state = ClusterState(Release(ReleaseState.ABSENT))
    assert room(state, a_model()) == {}
    assert "no right to list nodes: whether a GPU is free" in unknown_room(state.around)[0]


def test_without_nodes_the_cluster_has_none():
    assert "the cluster has no nodes" in why(room(a_state(), a_model()))


@pytest.mark.parametrize(
    ("containers", "extra", "gpus"),
    [
        ([{"resources": {"limits": {GPU: "2"}}}], {}, 2),
        ([{}, {"resources": {"requests": {GPU: "1"}}}], {}, 1),
        ([{}], {"initContainers": [{"resources": {"requests": {GPU: "4"}}}]}, 4),
        (
            [{"resources": {"requests": {GPU: "1"}}}],
            {"initContainers": [{"restartPolicy": "Always", "resources": {"limits": {GPU: "1"}}}]},
            2,
        ),
        ([{}], {"overhead": {GPU: "1"}}, 1),
    ],
)
def test_requests_are_counted_as_the_scheduler_counts_them(containers: Any, extra: Any, gpus: int):
    assert requests_of({"spec": {"containers": containers, **extra}})[GPU] == gpus


def test_a_gpu_that_is_shared_in_time_has_its_share_of_the_memory(make: Any):
    (node,) = nodes_of([make.node("a", **{"nvidia.com/gpu.replicas": "4"})], (), lambda _: False)
    assert node.gpu_memory == 20 * 1024**3


def test_the_weights_job_goes_beside_the_engine_or_where_there_is_room(make: Any):
    settings = load_settings()
    nodes = (make.node("a"), make.node("b"))
    state = a_state(*nodes)
    assert weights_hosts(a_model(), Placement(("b",)), settings, state) == ("b",)
    assert weights_hosts(a_model(), None, settings, state) == ("a", "b")
    running = ClusterState(
        state.release,
        pods=(EnginePod("qwen", "a", "c"),),
        claims={"qwen": WeightsClaim("qwen", "50Gi")},
        around=state.around,
    )
    assert weights_hosts(a_model(), Placement(("b",)), settings, running) == ("a",)


def test_the_weights_job_never_goes_to_a_node_without_gpus(make: Any):
    state = a_state(make.node("cpu", 0), make.node("gpu"))
    assert weights_hosts(a_model(), None, load_settings(), state) == ("gpu",)
