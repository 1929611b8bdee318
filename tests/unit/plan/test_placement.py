"""Where replicas would go, on nodes as the API describes them."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.capacity import Wanted, find_room, needs_of, unknown_room
from vllm_flows.models import Model
from vllm_flows.nodes import GPU, nodes_of, requests_of
from vllm_flows.observed import (
    MODEL_LABEL,
    ClusterState,
    EnginePod,
    Release,
    ReleaseState,
    Surroundings,
    WeightsClaim,
)
from vllm_flows.placement import Placement
from vllm_flows.settings import load_settings
from vllm_flows.weights_place import no_room_for_weights, weights_hosts

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


def tainted(make: Any, name: str, key: str, **fields: Any) -> Any:
    node = make.node(name, **fields)
    node["spec"]["taints"] = [{"key": key, "effect": "NoSchedule"}]
    return node


def way_out(found: dict[str, Placement], model: str = "qwen") -> str:
    problem = found[model].problem
    assert problem
    return problem.next_command


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("node.kubernetes.io/unschedulable", "kubectl uncordon a"),
        ("node.kubernetes.io/not-ready", "kubectl describe node a"),
        ("node.cilium.io/agent-not-ready", "kubectl describe node a"),
        ("team", "kubectl taint nodes a team:NoSchedule-"),
    ],
)
def test_what_keeps_pods_off_a_node_has_its_own_way_out(
    make: Any, key: str, command: str, replicas: int
):
    found = room(a_state(tainted(make, "a", key)), a_model(replicaCount=replicas))
    assert key in why(found)
    assert command in way_out(found)
    assert "ReadWriteMany" not in way_out(found)


def test_of_a_node_with_several_taints_all_are_to_be_lifted_the_cordon_last(make: Any):
    node = tainted(make, "a", "team")
    node["spec"]["unschedulable"] = True
    found = room(a_state(node), a_model())
    assert "a: with taint team:NoSchedule, and cordoned" in why(found)
    assert way_out(found).startswith("kubectl taint nodes a team:NoSchedule-")
    assert way_out(found).endswith("; then kubectl uncordon a")


CORDON = "node.kubernetes.io/unschedulable"
PAIR = {"replicaCount": 2, "requestGPU": 4}


def test_a_cordon_is_not_the_advice_where_lifting_it_makes_no_room(make: Any):
    nodes = (tainted(make, "gpu-node-1", CORDON), tainted(make, "gpu-node-2", "team"))
    found = room(a_state(*nodes, pods=[make.pod("gpu-node-1")]), a_model(**PAIR))
    assert "cordoned" in why(found)
    assert "gpu-node-1" in why(found)
    assert "7 nvidia.com/gpu free, 8 needed" in why(found)
    assert "kubectl uncordon" not in way_out(found)
    assert way_out(found).startswith("kubectl taint nodes gpu-node-2 team:NoSchedule-")


def test_where_no_node_has_room_once_it_is_opened_the_advice_is_both(make: Any):
    nodes = (tainted(make, "gpu-node-1", CORDON), tainted(make, "gpu-node-2", "team"))
    pods = [make.pod("gpu-node-1"), make.pod("gpu-node-2")]
    once = way_out(room(a_state(*nodes, pods=pods), a_model(**PAIR)))
    assert once.startswith("kubectl uncordon gpu-node-1; then lower replicaCount, or set VLLM_")
    full = [make.pod("gpu-node-1", 8), make.pod("gpu-node-2", 8)]
    taken = way_out(room(a_state(*nodes, pods=full), a_model()))
    assert taken.startswith("kubectl uncordon gpu-node-1; then kubectl get pods -A -o wide")


def test_a_node_that_is_only_full_is_the_advice_before_one_that_is_closed_as_well(make: Any):
    nodes = (tainted(make, "a", CORDON), tainted(make, "b", CORDON), make.node("c"))
    found = room(a_state(*nodes, pods=[make.pod(name, 8) for name in "abc"]), a_model())
    assert way_out(found).startswith("kubectl get pods -A -o wide")
    assert why(found).startswith("no room for a replica with a GPU now: c: 0 nvidia.com/gpu free")


def test_replicas_that_spread_have_as_many_nodes_opened_as_they_need(make: Any):
    nodes = [tainted(make, name, CORDON, gpus=1) for name in "abc"]
    two = way_out(room(a_state(*nodes), a_model(replicaCount=2), **RWX))
    assert two == "kubectl uncordon a; then kubectl uncordon b"
    one = way_out(room(a_state(*nodes, make.node("d", 1)), a_model(replicaCount=2), **RWX))
    assert one == "kubectl uncordon a"
    sizes = [
        tainted(make, name, CORDON, gpus=gpus) for name, gpus in (("a", 1), ("b", 1), ("c", 2))
    ]
    three = way_out(room(a_state(*sizes), a_model(replicaCount=3), **RWX))
    assert three == "kubectl uncordon a; then kubectl uncordon c"


def test_nodes_that_are_closed_for_different_reasons_are_all_opened(make: Any):
    mixed = (tainted(make, "a", "team", gpus=1), tainted(make, "b", CORDON, gpus=1))
    both = way_out(room(a_state(*mixed), a_model(replicaCount=2), **RWX))
    assert "kubectl uncordon b" in both
    assert "kubectl taint nodes a team:NoSchedule-" in both
    mixed[0]["spec"]["unschedulable"] = True
    all_three = way_out(room(a_state(*mixed), a_model(replicaCount=2), **RWX))
    assert all_three.startswith("kubectl uncordon b; then kubectl taint nodes a team:NoSchedule-")
    assert all_three.endswith("; then kubectl uncordon a")


def test_the_node_that_decides_is_named_before_others_of_its_kind(make: Any):
    names = "abcde"
    nodes = [tainted(make, name, CORDON) for name in names]
    state = a_state(*nodes, pods=[make.pod(name, 8) for name in names[:-1]])
    found = room(state, a_model())
    assert way_out(found) == "kubectl uncordon e"
    assert why(found).startswith("no room for a replica with a GPU now: e: cordoned")


def test_replicas_that_spread_are_told_of_the_one_node_that_is_large_enough(make: Any):
    nodes = [tainted(make, "a", CORDON, gpus=1), tainted(make, "b", CORDON, gpus=2)]
    found = room(a_state(*nodes), a_model(replicaCount=2), **RWX)
    assert way_out(found) == "kubectl uncordon b"


def test_opening_all_nodes_is_not_the_advice_where_even_that_is_not_enough(make: Any):
    nodes = (tainted(make, "a", CORDON, gpus=1), make.node("b", 1))
    found = room(a_state(*nodes), a_model(replicaCount=3), **RWX)
    assert way_out(found).startswith("kubectl get pods -A -o wide")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"requestCPU": 97}, "lower requestCPU in"),
        ({"requestMemory": "600Gi"}, "lower requestMemory in"),
        ({"requestGPU": 9}, "lower requestGPU (with vllmConfig.tensorParallelSize) in"),
        ({"requestCPU": 97, "requestMemory": "600Gi"}, "lower requestCPU and requestMemory in"),
    ],
)
def test_a_request_that_no_empty_node_meets_is_named(make: Any, fields: Any, named: str):
    for replicas in (1, 2):
        found = room(a_state(make.node("a")), a_model(replicaCount=replicas, **fields))
        assert "a: too small even when empty: " in why(found)
        assert named in way_out(found)


def test_replicas_with_a_missing_label_are_told_of_the_label(make: Any):
    model = a_model(nodeSelector={"pool": "x"}, replicaCount=2)
    assert "correct nodeSelector" in way_out(room(a_state(make.node("a")), model))


def test_replicas_that_find_no_room_even_for_one_are_told_who_holds_it(make: Any):
    state = a_state(make.node("a", 2), pods=[make.pod("a", 2)])
    assert "kubectl get pods -A -o wide" in way_out(room(state, a_model(replicaCount=2)))


def test_nodes_that_were_not_meant_do_not_outvote_those_that_were(make: Any):
    others = [make.node(name) for name in "bcd"] + [
        tainted(make, name, "node-role.kubernetes.io/control-plane", gpus=0, pool="x")
        for name in "efg"
    ]
    state = a_state(make.node("a", 1, pool="x"), *others, pods=[make.pod("a", 1)])
    found = room(state, a_model(nodeSelector={"pool": "x"}))
    assert "kubectl get pods -A -o wide" in way_out(found)
    assert why(found).split(": ")[1] == "a"


def test_the_commonest_reason_has_its_way_out_and_is_named_first(make: Any):
    cordoned = [tainted(make, name, "node.kubernetes.io/unschedulable") for name in "bc"]
    state = a_state(make.node("a", 1), *cordoned, pods=[make.pod("a", 1)])
    found = room(state, a_model())
    assert "kubectl uncordon b" in way_out(found)
    assert why(found).startswith("no room for a replica with a GPU now: b: cordoned")


def test_nodes_without_gpus_are_told_apart_from_nodes_with_too_few(make: Any):
    found = room(a_state(make.node("a", 0)), a_model())
    assert "a: without a GPU" in why(found)
    assert "kubectl describe node a" in way_out(found)


def test_gpus_too_small_for_the_model_ask_for_more_or_larger_ones(make: Any):
    wanted = [Wanted(a_model(), 1, small_gpus={"a": "its GPUs (T4) are too small"})]
    found = find_room(wanted, {}, load_settings(), a_state(make.node("a")))
    assert "a: its GPUs (T4) are too small" in why(found)
    assert "tensorParallelSize" in way_out(found)


def test_a_closed_node_with_large_gpus_is_opened_however_many_have_small_ones(make: Any):
    small = dict.fromkeys("abc", "its GPUs (T4) are too small")
    closed = {**make.node("d"), "spec": {"unschedulable": True}}
    state = a_state(*map(make.node, "abc"), closed)
    found = find_room([Wanted(a_model(), 1, small_gpus=small)], {}, load_settings(), state)
    assert way_out(found) == "kubectl uncordon d"


def test_a_volume_that_is_elsewhere_names_its_claim(make: Any):
    nodes = (make.node("a", 1), make.node("b", 1), make.node("c", 1))
    around = Surroundings(nodes=nodes, pods=(make.pod("a"),))
    pods = (EnginePod("qwen", "a", "c"),)
    found = room(ClusterState(Release(ReleaseState.ABSENT), pods=pods, around=around), a_model())
    assert "kubectl -n vllm describe pvc weights-qwen" in way_out(found)
    assert "VLLM_STORAGE_ACCESS_MODE=ReadWriteMany" in way_out(found)


def test_without_nodes_the_way_out_is_a_node():
    assert "kubectl get nodes" in way_out(room(a_state(), a_model()))


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


def test_what_a_pod_asks_for_as_a_whole_counts_where_it_is_more_than_its_containers():
    spec = {
        "containers": [{"resources": {"requests": {"cpu": "1", "memory": "3Gi", GPU: "1"}}}],
        "resources": {"requests": {"cpu": "4", "memory": "2Gi"}},
        "overhead": {"cpu": "1"},
    }
    found = requests_of({"spec": spec})
    assert (found["cpu"], found["memory"], found[GPU]) == (5, 3 * 1024**3, 1)


def test_a_gpu_that_is_shared_in_time_has_its_share_of_the_memory(make: Any):
    (node,) = nodes_of([make.node("a", **{"nvidia.com/gpu.replicas": "4"})], ())
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


@pytest.mark.parametrize(
    ("effect", "kept_out"), [("NoSchedule", True), ("NoExecute", True), ("PreferNoSchedule", False)]
)
def test_a_taint_that_ends_pods_keeps_new_ones_out_too(make: Any, effect: str, *, kept_out: bool):
    taints = [{"key": "team", "effect": effect}]
    found = room(a_state({**make.node("a"), "spec": {"taints": taints}}), a_model())
    assert bool(found["qwen"].problem) is kept_out


def test_the_weights_job_goes_where_there_is_room_when_several_nodes_mount_the_volume(make: Any):
    modes = {"spec": {"accessModes": ["ReadWriteMany"]}}
    shared = ClusterState(
        Release(ReleaseState.ABSENT),
        pods=(EnginePod("qwen", "a", "c"),),
        claims={"qwen": WeightsClaim("qwen", "50Gi", manifest=modes)},
        around=Surroundings(nodes=(make.node("a"), make.node("b"))),
    )
    assert weights_hosts(a_model(), Placement(("b",)), load_settings(), shared) == ("b",)


def test_the_weights_job_never_goes_to_a_node_without_gpus(make: Any):
    state = a_state(make.node("cpu", 0), make.node("gpu"))
    assert weights_hosts(a_model(), None, load_settings(), state) == ("gpu",)


def test_the_weights_job_goes_where_its_volume_can_be_used(make: Any):
    terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["1"]}]}]
    volume = {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}}
    nodes = (make.node("a", zone="1"), make.node("b", zone="2"))
    state = a_state(*nodes, around={"volumes": {"qwen": volume}})
    assert weights_hosts(a_model(), None, load_settings(), state) == ("a",)


def crowded(make: Any, *, pods: Any = (), **settings: Any) -> Any:
    """Look for room for the weights Job on a node of 96 CPUs and 512Gi."""
    state = a_state(make.node("a"), pods=pods)
    return no_room_for_weights(a_model(), ("a",), load_settings(**settings), state)


def greedy(make: Any, cpu: str, **metadata: Any) -> Any:
    pod = make.pod("a", 0, **metadata)
    pod["spec"]["containers"][0]["resources"]["requests"] = {"cpu": cpu, "memory": "1Gi"}
    return pod


def test_the_weights_job_needs_room_beside_what_runs(make: Any):
    assert crowded(make, pods=[greedy(make, "95500m")]) is None
    problem = crowded(make, pods=[greedy(make, "95501m")])
    assert problem.what == "no room for the Job that fetches its weights"
    assert problem.why == "it takes 500m cpu and 1Gi memory beside what runs (a: too little cpu)"
    assert "kubectl get pods -A" in problem.next_command


def test_a_weights_job_that_is_at_work_already_needs_no_room_any_more(make: Any):
    labels = {MODEL_LABEL: "qwen"}
    assert crowded(make, pods=[greedy(make, "96", labels=labels)]) is None


def test_where_nodes_come_when_pods_wait_the_weights_job_may_wait_too(make: Any):
    assert crowded(make, pods=[greedy(make, "96")], autoscaling=True) is None
    unseen = ClusterState(Release(ReleaseState.ABSENT), around=Surroundings())
    assert no_room_for_weights(a_model(), ("a",), load_settings(), unseen) is None
