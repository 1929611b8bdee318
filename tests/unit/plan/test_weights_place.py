"""Where the Job that fetches weights goes, and whether it has room there."""

from __future__ import annotations

from typing import Any

from tests.unit.plan.looking_for_room import a_model, a_state
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
