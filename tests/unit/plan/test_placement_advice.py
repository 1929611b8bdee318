"""Which way out is advised where replicas find no room."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.plan.looking_for_room import RWX, a_model, a_state, room, tainted, way_out, why
from vllm_flows.capacity import Wanted, find_room
from vllm_flows.observed import ClusterState, EnginePod, Release, ReleaseState, Surroundings
from vllm_flows.settings import load_settings


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
