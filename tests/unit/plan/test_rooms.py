"""How each model that changes comes to its new pods, from the room that the cluster has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from vllm_flows.chart import Chart
from vllm_flows.desired import Desired
from vllm_flows.differences import entries
from vllm_flows.errors import DowntimeError
from vllm_flows.models import Model
from vllm_flows.observed import (
    DIGEST_ANNOTATION,
    ClusterState,
    DeployedModel,
    EnginePod,
    HubFile,
    Release,
    ReleaseState,
    Surroundings,
    Verdict,
    WeightsClaim,
)
from vllm_flows.plan import Action, Step
from vllm_flows.planner import make_plan
from vllm_flows.rollout import AT_REST, Rollout, Strategy
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values
from vllm_flows.weights_manifests import weights_job

OLD, NEW = "a" * 40, "b" * 40


def a_model(name: str = "qwen", **fields: Any) -> Model:
    return Model(name=name, modelURL=f"org/{name}", **fields)


def aim(*models: Model, commit: str = NEW, chart: str = "0.1.8", **settings: Any) -> Desired:
    """Return what should be: each model at a commit."""
    files = (HubFile("model.safetensors", 1000),)
    verdicts = {m.name: Verdict(m.name, m.model_url, commit, files=files) for m in models}
    shared = load_settings(**settings)
    values = release_values([PinnedModel(model, commit) for model in models], shared, None, chart)
    return Desired(models, verdicts, values, Chart("vllm-stack", (), chart), shared)


def served(make: Any, nodes: Mapping[str, int], *models: Model, ready: bool = True) -> ClusterState:
    """Return a cluster that serves the models' old commit, all pods on the first node."""
    old = aim(*models, commit=OLD)
    digests = {
        name: entry["podAnnotations"][DIGEST_ANNOTATION]
        for name, entry in entries(old.values).items()
    }
    first = next(iter(nodes))
    pods = [engine_pod(make, first, model) for model in models for _ in range(model.replica_count)]
    return ClusterState(
        Release(ReleaseState.DEPLOYED, 1, "0.1.8", "deployed", old.values),
        {m.name: deployment(m, digests[m.name], ready=ready) for m in models},
        {m.name: WeightsClaim(m.name, m.pvc_storage, complete={OLD: 1}) for m in models},
        router=True,
        pods=tuple(EnginePod(m.name, first, OLD) for m in models),
        around=Surroundings(tuple(make.node(n, gpus) for n, gpus in nodes.items()), tuple(pods)),
    )


def deployment(model: Model, digest: str, *, ready: bool) -> DeployedModel:
    replicas = model.replica_count
    return DeployedModel(model.name, replicas, replicas if ready else 0, OLD, digest)


def engine_pod(make: Any, node: str, model: Model) -> Any:
    labels = {"helm-release-name": "vllm", "model": model.name}
    return make.pod(node, model.request_gpu, namespace="vllm", labels=labels)


def only(desired: Desired, state: ClusterState) -> Step:
    (step,) = make_plan(desired, state).steps
    return step


def test_a_second_copy_that_has_room_starts_before_the_old_one_ends(make: Any):
    step = only(aim(a_model()), served(make, {"a": 2}, a_model()))
    assert (step.action, step.nodes) == (Action.UPDATE, ("a",))
    assert step.rollout == Rollout(Strategy.SURGE, 1)


def test_one_replica_at_a_time_where_all_gpus_are_taken(make: Any):
    model = a_model(replicaCount=2)
    step = only(aim(model), served(make, {"a": 2}, model))
    assert step.rollout == Rollout(Strategy.ONE_AT_A_TIME)
    assert "one replica at a time: the others answer" in step.notes


def test_downtime_takes_a_yes(make: Any):
    full = served(make, {"a": 1}, a_model())
    step = only(aim(a_model()), full)
    (problem,) = step.problems
    assert isinstance(problem, DowntimeError)
    assert "0 nvidia.com/gpu free, 1 needed" in problem.why
    assert "--allow-downtime" in problem.next_command


def test_what_a_quota_leaves_decides_how_pods_are_replaced_as_free_gpus_do(make: Any):
    hard, used = {"requests.nvidia.com/gpu": "2"}, {"requests.nvidia.com/gpu": "2"}
    status = {"hard": hard, "used": used}
    quota = {"metadata": {"name": "team"}, "spec": {"hard": hard}, "status": status}
    model = a_model(replicaCount=2)
    state = served(make, {"a": 8}, model)
    state = replace(state, around=replace(state.around, quotas=(quota,)))
    assert only(aim(model), state).rollout == Rollout(Strategy.ONE_AT_A_TIME)
    status |= {"hard": {**hard, "requests.nvidia.com/gpu": "3"}}
    assert only(aim(model), state).rollout == Rollout(Strategy.SURGE, 1)


def test_a_yes_in_models_yaml_or_for_this_run_stops_the_old_one_first(make: Any):
    full = served(make, {"a": 1}, a_model())
    for wanted in (aim(a_model(allowDowntime=True)), replace(aim(a_model()), allow_downtime=True)):
        step = only(wanted, full)
        assert step.rollout == Rollout(Strategy.STOP_FIRST, downtime=True)
        assert step.action is Action.UPDATE


def test_a_model_that_does_not_answer_anyway_is_replaced_without_a_yes(make: Any):
    step = only(aim(a_model()), served(make, {"a": 1}, a_model(), ready=False))
    assert step.rollout == Rollout(Strategy.STOP_FIRST)


def test_no_way_at_all_is_no_question_of_downtime(make: Any):
    larger = a_model(requestGPU=4, vllmConfig={"tensorParallelSize": 4})
    step = only(aim(larger), served(make, {"a": 1}, a_model()))
    (problem,) = step.problems
    assert not isinstance(problem, DowntimeError)
    assert "no room" in problem.what


def test_a_new_model_takes_the_room_that_an_update_would_have_surged_into(make: Any):
    full = served(make, {"a": 2}, a_model())
    new, update = make_plan(aim(a_model("new"), a_model(allowDowntime=True)), full).steps
    assert (new.action, new.nodes) == (Action.CREATE, ("a",))
    assert update.rollout == Rollout(Strategy.STOP_FIRST, downtime=True)


def test_two_models_that_change_use_the_same_free_gpu_one_after_the_other(make: Any):
    models = (a_model("a"), a_model("b"))
    steps = make_plan(aim(*models), served(make, {"n": 3}, *models)).steps
    assert [step.rollout for step in steps] == [Rollout(Strategy.SURGE, 1)] * 2


def test_a_volume_that_one_node_holds_is_free_for_others_once_its_pods_stopped(make: Any):
    model = a_model(allowDowntime=True, nodeSelector={"pool": "new"})
    state = served(make, {"a": 1, "b": 1}, a_model())
    labelled = (make.node("a", 1), make.node("b", 1, pool="new"))
    step = only(aim(model), replace(state, around=replace(state.around, nodes=labelled)))
    assert (step.rollout, step.nodes) == (Rollout(Strategy.STOP_FIRST, downtime=True), ("b",))


def test_where_room_cannot_be_seen_as_little_as_possible_is_asked_for(make: Any):
    state = served(make, {"a": 1}, a_model(replicaCount=2))
    blind = replace(state, around=replace(state.around, pods=None))
    assert only(aim(a_model(replicaCount=2)), blind).rollout == AT_REST


def blind(state: ClusterState) -> ClusterState:
    """Return the cluster as an account sees it that may not list nodes, nor others' pods."""
    return replace(state, around=replace(state.around, nodes=None, pods=None))


def test_where_room_cannot_be_seen_a_surge_says_that_it_may_find_none(make: Any):
    step = only(aim(a_model()), blind(served(make, {"a": 1}, a_model())))
    assert step.rollout == AT_REST
    assert any("the new replica may find no room" in note for note in step.notes)
    assert any("--allow-downtime" in note for note in step.notes)


def test_where_room_cannot_be_seen_consent_stops_the_old_one_first(make: Any):
    state = blind(served(make, {"a": 1}, a_model()))
    for wanted in (aim(a_model(allowDowntime=True)), replace(aim(a_model()), allow_downtime=True)):
        step = only(wanted, state)
        assert step.rollout == Rollout(Strategy.STOP_FIRST, downtime=True)
        assert not any("may find no room" in note for note in step.notes)


def test_where_room_cannot_be_seen_consent_still_spares_a_model_with_more_replicas(make: Any):
    two = a_model(replicaCount=2, allowDowntime=True)
    state = blind(served(make, {"a": 2}, two))
    assert only(aim(two), state).rollout == Rollout(Strategy.ONE_AT_A_TIME)


def test_where_room_cannot_be_seen_what_answers_nobody_stops_first(make: Any):
    state = blind(served(make, {"a": 1}, a_model(), ready=False))
    assert only(aim(a_model()), state).rollout == Rollout(Strategy.STOP_FIRST)


def test_where_room_cannot_be_seen_models_stop_at_once_only_if_each_agreed(make: Any):
    some = (a_model("a", allowDowntime=True), a_model("b"))
    state = blind(served(make, {"n": 2}, *some))
    assert set(rollouts(aim(*some, **ALL_AT_ONCE), state).values()) == {AT_REST}
    agreed = replace(aim(*some, **ALL_AT_ONCE), allow_downtime=True)
    assert set(rollouts(agreed, state).values()) == {Rollout(Strategy.STOP_FIRST, downtime=True)}


@pytest.mark.parametrize("pods_seen", [True, False])
def test_with_autoscaling_only_the_models_own_consent_speaks_against_a_surge(
    make: Any, *, pods_seen: bool
):
    state = served(make, {"a": 1}, a_model())
    state = state if pods_seen else blind(state)
    for_this_run = replace(aim(a_model(), autoscaling=True), allow_downtime=True)
    assert only(for_this_run, state).rollout == Rollout(Strategy.SURGE, 1)
    its_own = aim(a_model(allowDowntime=True), autoscaling=True)
    assert only(its_own, state).rollout == Rollout(Strategy.STOP_FIRST, downtime=True)


def test_with_autoscaling_a_model_that_agreed_surges_where_there_is_room_now(make: Any):
    willing = aim(a_model(allowDowntime=True), autoscaling=True)
    assert only(willing, served(make, {"a": 2}, a_model())).rollout == Rollout(Strategy.SURGE, 1)


def test_with_autoscaling_a_model_that_only_a_node_to_come_can_take_is_not_stopped(make: Any):
    larger = a_model(allowDowntime=True, **TWO_GPUS)
    step = only(aim(larger, autoscaling=True), served(make, {"a": 1}, a_model()))
    assert step.rollout == Rollout(Strategy.SURGE, 1)


def test_with_autoscaling_all_replicas_surge(make: Any):
    model = a_model(replicaCount=2)
    step = only(aim(model, autoscaling=True), served(make, {"a": 2}, model))
    assert step.rollout == Rollout(Strategy.SURGE, 2)


TWO_GPUS = {"requestGPU": 2, "vllmConfig": {"tensorParallelSize": 2}}


def test_an_update_does_not_surge_into_the_room_of_a_smaller_model_that_is_new(make: Any):
    large = a_model("large", allowDowntime=True, **TWO_GPUS)
    state = served(make, {"a": 4}, large)
    alone = only(aim(large), state)
    assert alone.rollout == Rollout(Strategy.SURGE, 1)
    update, new = make_plan(aim(large, a_model("new")), state).steps
    assert (new.action, new.nodes) == (Action.CREATE, ("a",))
    assert update.rollout == Rollout(Strategy.STOP_FIRST, downtime=True)


def test_a_new_model_without_room_takes_none_from_an_update(make: Any):
    new = a_model("new", requestGPU=4, vllmConfig={"tensorParallelSize": 4})
    state = served(make, {"a": 2}, a_model())
    blocked, update = make_plan(aim(new, a_model()), state).steps
    assert blocked.action is Action.BLOCKED
    assert (update.action, update.problems) == (Action.UPDATE, ())
    assert update.rollout == Rollout(Strategy.SURGE, 1)


def test_what_a_model_held_that_is_no_longer_listed_is_free_for_the_others(make: Any):
    state = served(make, {"a": 1}, a_model("old"))
    new, old = make_plan(aim(a_model("new")), state).steps
    assert (new.action, new.nodes) == (Action.CREATE, ("a",))
    assert old.action is Action.DESTROY


def test_more_replicas_of_changed_pods_need_room_for_the_old_ones_too(make: Any):
    more = a_model(replicaCount=3)
    state = served(make, {"a": 3}, a_model())
    assert only(aim(more), state).rollout == Rollout(Strategy.STOP_FIRST, downtime=True)
    roomy = served(make, {"a": 4}, a_model())
    assert only(aim(more), roomy).rollout == Rollout(Strategy.SURGE, 1)


ALL_AT_ONCE = {"commit": OLD, "chart": "0.1.9"}
"""What changes for all engines: the chart."""


def rollouts(desired: Desired, state: ClusterState) -> dict[str, Rollout | None]:
    return {step.model: step.rollout for step in make_plan(desired, state).steps}


def refused(desired: Desired, state: ClusterState) -> set[str]:
    steps = make_plan(desired, state).steps
    assert all(isinstance(one, DowntimeError) for step in steps for one in step.problems)
    return {step.model for step in steps if step.problems}


def test_models_that_change_at_once_surge_where_one_more_of_each_has_room(make: Any):
    models = (a_model("a"), a_model("b"))
    wanted = aim(*models, **ALL_AT_ONCE)
    surge = Rollout(Strategy.SURGE, 1)
    assert rollouts(wanted, served(make, {"n": 4}, *models)) == {"a": surge, "b": surge}


@pytest.mark.parametrize(("free", "surge"), [(3, 2), (2, 1)])
def test_models_that_change_at_once_start_all_new_replicas_where_all_have_room(
    make: Any, free: int, surge: int
):
    models = (a_model("one"), a_model("two", replicaCount=2))
    state = served(make, {"a": 3 + free}, *models)
    found = rollouts(aim(*models, chart="0.1.9"), state)
    assert found == dict.fromkeys(("one", "two"), Rollout(Strategy.SURGE, surge))


def test_of_models_that_stop_at_once_each_without_consent_is_named_and_no_other(make: Any):
    models = (a_model("a"), a_model("b", allowDowntime=True), a_model("c"))
    state = served(make, {"n": 5}, *models)
    assert refused(aim(*models, **ALL_AT_ONCE), state) == {"a", "c"}
    agreed = replace(aim(*models, **ALL_AT_ONCE), allow_downtime=True)
    assert set(rollouts(agreed, state).values()) == {Rollout(Strategy.STOP_FIRST, downtime=True)}


def test_a_model_that_could_surge_alone_is_not_stopped_for_others_without_its_consent(make: Any):
    small = a_model("small", nodeSelector={"pool": "free"})
    full = a_model("full", allowDowntime=True, nodeSelector={"pool": "full"})
    state = served(make, {"a": 1}, small, full)
    pods = (engine_pod(make, "f", small), engine_pod(make, "a", full))
    nodes = (make.node("f", 4, pool="free"), make.node("a", 1, pool="full"))
    around = Surroundings(nodes, pods)
    seen = (EnginePod("small", "f", OLD), EnginePod("full", "a", OLD))
    state = replace(state, around=around, pods=seen)
    assert refused(aim(small, full), state) == set()
    assert refused(aim(small, full, **ALL_AT_ONCE), state) == {"small"}


def test_replicas_that_change_at_once_do_so_in_turn_where_that_spares_a_model(make: Any):
    two, one = a_model("two", replicaCount=2), a_model("one", allowDowntime=True)
    state = served(make, {"n": 3}, two, one)
    assert rollouts(aim(two, one, **ALL_AT_ONCE), state) == {
        "two": Rollout(Strategy.ONE_AT_A_TIME),
        "one": Rollout(Strategy.ONE_AT_A_TIME, downtime=True),
    }
    alone = a_model("one")
    assert refused(aim(two, alone, **ALL_AT_ONCE), state) == {"one"}


def test_the_job_tolerates_what_the_engine_does(make: Any):
    toleration = {"key": "pool", "operator": "Exists"}
    state = served(make, {"a": 2}, a_model())
    around = replace(state.around, runtime_class={"scheduling": {"tolerations": [toleration]}})
    step = only(aim(a_model()), replace(state, around=around))
    assert step.order
    assert toleration in step.order.tolerations
    job = weights_job(a_model(), Verdict("qwen", "org/qwen", NEW), load_settings(), step.order)
    assert toleration in job["spec"]["template"]["spec"]["tolerations"]


def test_a_model_is_blocked_where_its_weights_job_has_no_room(make: Any):
    state = served(make, {"a": 2}, a_model())
    full = make.pod("a", 0)
    full["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "94800m"}
    around = replace(state.around, pods=(*(state.around.pods or ()), full))
    step = only(aim(a_model(requestCPU=0.1)), replace(state, around=around))
    assert (step.action, step.order) == (Action.BLOCKED, None)
    assert step.problems[0].what == "no room for the Job that fetches its weights"


def told(desired: Desired, state: ClusterState) -> str:
    return "\n".join(only(desired, state).notes)


def test_a_new_pod_that_may_come_to_a_node_without_the_volume_is_told(make: Any):
    state = served(make, {"a": 2, "b": 2}, a_model())
    words = "its ReadWriteOnce volume is mounted on a, and 2 nodes could take the new pod"
    assert words in told(aim(a_model()), state)


def test_a_model_that_may_not_answer_stops_first_where_its_volume_keeps_pods_apart(make: Any):
    state = served(make, {"a": 2, "b": 2}, a_model())
    for wanted in (aim(a_model(allowDowntime=True)), replace(aim(a_model()), allow_downtime=True)):
        step = only(wanted, state)
        assert step.rollout == Rollout(Strategy.STOP_FIRST, downtime=True)
        assert "mounted on" not in "\n".join(step.notes)


def test_what_answers_nobody_stops_first_where_its_volume_keeps_pods_apart(make: Any):
    state = served(make, {"a": 2, "b": 2}, a_model(), ready=False)
    assert only(aim(a_model()), state).rollout == Rollout(Strategy.STOP_FIRST)


def test_of_models_that_change_at_once_one_volume_that_keeps_pods_apart_stops_all(make: Any):
    models = (a_model("a"), a_model("b"))
    state = served(make, {"n": 4, "m": 4}, *models)
    wanted = aim(*models, **ALL_AT_ONCE)
    assert set(rollouts(wanted, state).values()) == {Rollout(Strategy.SURGE, 1)}
    agreed = replace(wanted, allow_downtime=True)
    assert set(rollouts(agreed, state).values()) == {Rollout(Strategy.STOP_FIRST, downtime=True)}


def test_where_the_new_pod_can_only_come_to_the_volume_nothing_is_told(make: Any):
    pinned = a_model(nodeSelector={"kubernetes.io/hostname": "a"})
    assert "mounted on" not in told(aim(pinned), served(make, {"a": 2, "b": 2}, pinned))
    assert "mounted on" not in told(aim(a_model()), served(make, {"a": 2}, a_model()))


def test_a_shared_volume_parts_no_pods(make: Any):
    state = served(make, {"a": 2, "b": 2}, a_model())
    shared = {"spec": {"accessModes": ["ReadWriteMany"]}}
    state = replace(state, claims={"qwen": replace(state.claims["qwen"], manifest=shared)})
    assert "mounted on" not in told(aim(a_model()), state)
