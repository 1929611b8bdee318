"""Where replicas would go, on nodes as the API describes them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.plan.looking_for_room import RWX, a_model, a_state, room, why
from vllm_flows.capacity import needs_of, unknown_room
from vllm_flows.observed import ClusterState, EnginePod, Release, ReleaseState, Surroundings
from vllm_flows.placement import Placement


def test_a_model_is_given_the_node_that_has_room(make: Any):
    state = a_state(make.node("a"), make.node("b"), pods=[make.pod("a", 8)])
    assert room(state, a_model())["qwen"] == Placement(("b",))


def test_the_fullest_node_that_has_room_is_taken_so_that_large_models_find_some(make: Any):
    state = a_state(make.node("a", 8), make.node("b", 8), pods=[make.pod("b", 6)])
    assert room(state, a_model())["qwen"].nodes == ("b",)
    assert room(state, a_model(replicaCount=3), **RWX)["qwen"].nodes == ("b", "b", "a")


def test_when_all_gpus_are_taken_each_node_says_how_many_are_free(make: Any):
    state = a_state(make.node("a", 2), make.node("b", 2), pods=[make.pod("a", 2), make.pod("b", 1)])
    text = why(room(state, a_model(requestGPU=2)))
    assert text.startswith("no room for a replica with 2 GPUs now: ")
    assert "a: 0 nvidia.com/gpu free, 2 needed" in text
    assert "b: 1 nvidia.com/gpu free, 2 needed" in text


def test_gpus_spread_over_nodes_are_not_enough_for_one_replica(make: Any):
    state = a_state(make.node("a", 2), make.node("b", 2))
    text = why(room(state, a_model(requestGPU=4)))
    assert "a: too small even when empty: 2 nvidia.com/gpu free, 4 needed" in text


def test_models_compete_and_the_one_with_most_gpus_comes_first(make: Any):
    state = a_state(make.node("a", 4))
    found = room(state, a_model("small"), a_model("large", requestGPU=4))
    assert found["large"].nodes == ("a",)
    assert found["small"].problem


def test_cpu_and_memory_count_as_well(make: Any):
    state = a_state(make.node("a"))
    assert "96 cpu free, 97 needed" in why(room(state, a_model(requestCPU=97)))
    assert "512Gi memory free, 600Gi needed" in why(room(state, a_model(requestMemory="600Gi")))
    both = why(room(state, a_model(requestCPU=97, requestMemory="600Gi")))
    assert "96 cpu free, 97 needed, and 512Gi memory free, 600Gi needed" in both


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


def test_a_cordoned_node_is_told_of_its_cordon_once(make: Any):
    node = make.node("a")
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    node["spec"] |= {"unschedulable": True, "taints": [taint]}
    assert why(room(a_state(node), a_model())).count("unschedulable:NoSchedule") == 1


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


def test_a_label_that_runtime_class_and_model_want_with_two_values_is_on_no_node(make: Any):
    runtime = {"scheduling": {"nodeSelector": {"pool": "gpu"}}}
    around = {"runtime_class": runtime}
    state = a_state(make.node("a", pool="gpu"), make.node("b", pool="big"), around=around)
    text = why(room(state, a_model(nodeSelector={"pool": "big"})))
    assert "a: without label pool=big" in text
    assert "b: without label pool=gpu" in text


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
    assert "a: 0 nvidia.com/gpu free, 1 needed" in text
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
    assert room(state, a_model(), stays={"old": 0})["qwen"].nodes == ("a",)


def test_a_model_of_that_name_in_another_namespace_keeps_its_gpus(make: Any):
    theirs = make.pod("a", 8, labels={"model": "old", "helm-release-name": "vllm"})
    assert room(a_state(make.node("a"), pods=[theirs]), a_model(), stays={"old": 0})["qwen"].problem


def ours(make: Any, node: str, created: str = "", ready: str = "True") -> Any:
    """Return a pod of the model `old`, with one GPU."""
    pod = make.pod(
        node,
        namespace="vllm",
        labels={"model": "old", "helm-release-name": "vllm"},
        creationTimestamp=created,
    )
    return pod | {"status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_what_a_scale_down_ends_counts_as_free_and_what_it_keeps_does_not(make: Any):
    state = a_state(make.node("a", 3), pods=[ours(make, "a")] * 3)
    two = a_model(requestGPU=2)
    assert room(state, two, stays={"old": 1})["qwen"].nodes == ("a",)
    assert "1 nvidia.com/gpu free, 2 needed" in why(room(state, two, stays={"old": 2}))


@pytest.mark.parametrize(
    ("pods", "freed"),
    [
        ([("a", "2026-01-01", "True"), ("b", "2026-01-02", "True")], "b"),
        ([("a", "2026-01-01", "False"), ("b", "2026-01-02", "True")], "a"),
        ([("a", "2026-01-03", "True"), *[("b", "2026-01-01", "True")] * 2], "b"),
    ],
    ids=["the newest", "one that is not ready", "one of two on a node"],
)
def test_a_scale_down_ends_the_pods_that_kubernetes_would_end(
    make: Any, pods: list[tuple[str, str, str]], freed: str
):
    nodes = [make.node("a", 1), make.node("b", len(pods) - 1)]
    state = a_state(*nodes, pods=[ours(make, *pod) for pod in pods])
    assert room(state, a_model(), stays={"old": len(pods) - 1})["qwen"].nodes == (freed,)


def test_a_pod_that_still_waits_is_ended_first_and_frees_nothing(make: Any):
    state = a_state(make.node("a", 1), pods=[ours(make, "a"), ours(make, "", ready="False")])
    assert room(state, a_model(), stays={"old": 1})["qwen"].problem


def test_without_the_right_to_see_nodes_nothing_is_decided_and_it_is_said():
    state = ClusterState(Release(ReleaseState.ABSENT))
    assert room(state, a_model()) == {}
    assert "no right to list nodes: whether a GPU is free" in unknown_room(state.around)[0]


def test_without_nodes_the_cluster_has_none():
    assert "the cluster has no nodes" in why(room(a_state(), a_model()))


@pytest.mark.parametrize(
    ("effect", "kept_out"), [("NoSchedule", True), ("NoExecute", True), ("PreferNoSchedule", False)]
)
def test_a_taint_that_ends_pods_keeps_new_ones_out_too(make: Any, effect: str, *, kept_out: bool):
    taints = [{"key": "team", "effect": effect}]
    found = room(a_state({**make.node("a"), "spec": {"taints": taints}}), a_model())
    assert bool(found["qwen"].problem) is kept_out
