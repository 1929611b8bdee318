"""Which models a plan blocks, what it says of them, and whose room others may have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support import LLAMA_70B
from tests.unit.plan.desired_and_deployed import (
    NOTHING,
    OTHER_SHA,
    SHA,
    a_model,
    as_deployed,
    desired,
    engine_on,
    on_nodes,
    verdict,
)
from vllm_flows.errors import AccessError, BlockedError
from vllm_flows.observed import HubFile, Verdict, WeightsClaim
from vllm_flows.plan import Action
from vllm_flows.planner import make_plan
from vllm_flows.settings import load_settings


def test_one_refused_model_blocks_the_whole_run_with_its_next_command():
    good, bad = a_model("good"), a_model("bad")
    problem = AccessError("gated", why="no token", next_command="accept it", model="bad")
    aim = desired(
        good, bad, verdicts=[verdict(good), Verdict("bad", "org/bad", problems=(problem,))]
    )
    plan = make_plan(aim, NOTHING)
    assert [step.action for step in plan.steps] == [Action.CREATE, Action.BLOCKED]
    with pytest.raises(BlockedError) as caught:
        plan.raise_if_blocked()
    assert "1 of 2 models cannot be served; nothing was changed" in str(caught.value)
    assert "bad: gated (no token)" in str(caught.value)
    assert "next: accept it" in str(caught.value)


def test_a_volume_too_small_for_the_weights_blocks_before_a_byte_is_fetched():
    model = a_model(pvcStorage="1Gi")
    aim = desired(model, verdicts=[verdict(model, size=2 * 1024**3)])
    (step,) = make_plan(aim, NOTHING).steps
    assert step.action is Action.BLOCKED
    assert step.problems[0].next_command == "set pvcStorage: 3Gi in models.yaml"


def test_a_claim_that_is_being_deleted_blocks_with_the_way_out():
    aim = desired(a_model())
    claim = WeightsClaim("qwen", "50Gi", complete={SHA: 1}, leaving=True)
    (step,) = make_plan(aim, replace(as_deployed(aim), claims={"qwen": claim})).steps
    assert "is being deleted" in step.problems[0].what


def test_gpus_of_unknown_size_are_told_once_where_a_models_fit_hangs_on_it(make: Any):
    unlabelled = [make.node(name, **{"nvidia.com/gpu.memory": "unknown"}) for name in "abcd"]
    state = on_nodes(NOTHING, *unlabelled)
    aim = desired(a_model("a"), a_model("b"))
    small = {**LLAMA_70B, "num_hidden_layers": 2}
    known = {name: replace(one, config=small) for name, one in aim.verdicts.items()}
    (note,) = [one for one in make_plan(replace(aim, verdicts=known), state).notes if "size" in one]
    assert note.startswith("nothing tells the size of the GPUs on a, b, c and 1 more (label nvidia")
    assert not any("size" in one for one in make_plan(aim, state).notes)


def test_a_model_without_room_is_blocked_and_with_autoscaling_only_told(make: Any):
    aim = desired(a_model())
    full = on_nodes(NOTHING, make.node("a", 1), pods=[make.pod("a", 1)])
    (step,) = make_plan(aim, full).steps
    assert (step.action, step.reason) == (Action.BLOCKED, "no room for a replica with a GPU now")
    patient = replace(aim, settings=load_settings(autoscaling=True))
    (step,) = make_plan(patient, full).steps
    assert step.action is Action.CREATE
    assert step.notes == ("waits for a node: no room for a replica with a GPU now",)


def test_scaling_needs_room_only_for_what_is_new(make: Any):
    aim = desired(a_model())
    full = on_nodes(as_deployed(aim), make.node("a", 1), pods=[make.pod("a", 1)])
    assert make_plan(aim, full).steps[0].action is Action.NONE
    (step,) = make_plan(desired(a_model(replicaCount=2)), full).steps
    assert step.action is Action.BLOCKED
    free = on_nodes(as_deployed(aim), make.node("a", 2), pods=[make.pod("a", 1)])
    (step,) = make_plan(desired(a_model(replicaCount=2)), free).steps
    assert (step.action, step.nodes, step.rollout) == (Action.SCALE, ("a",), None)


@pytest.mark.parametrize(
    ("fields", "commit"),
    [({"replicaCount": 0}, SHA), ({"replicaCount": 1}, SHA), ({"replicaCount": 0}, OTHER_SHA)],
    ids=["scaled to none", "scaled to fewer", "updated and scaled to none"],
)
def test_what_a_lowered_replica_count_frees_goes_to_other_models_of_the_run(
    make: Any, fields: dict[str, Any], commit: str
):
    before = desired(a_model("old", replicaCount=2))
    pods = [engine_on(make, "old"), engine_on(make, "old")]
    state = on_nodes(as_deployed(before), make.node("a", 2), pods=pods)
    old, new = a_model("old", **fields), a_model("new")
    verdicts = [verdict(old, commit), verdict(new)]
    plan = make_plan(desired(old, new, verdicts=verdicts), state)
    assert [step.action for step in plan.steps][1] is Action.CREATE
    assert plan.steps[1].nodes == ("a",)


@pytest.mark.parametrize(
    ("now", "commit", "wanted", "told"),
    [
        ({}, OTHER_SHA, Action.UPDATE, " (wanted: update, revision aaaaaaaa -> bbbbbbbb)"),
        ({"replicaCount": 3}, SHA, Action.SCALE, " (wanted: scale, replicas 1 -> 3)"),
    ],
)
def test_a_blocked_model_that_is_deployed_says_what_would_have_changed(
    make: Any, now: dict[str, Any], commit: str, wanted: Action, told: str
):
    model = a_model(**now)
    state = as_deployed(desired(a_model()))
    state = on_nodes(state, make.node("a", 1), pods=[engine_on(make, "qwen")])
    (step,) = make_plan(desired(model, verdicts=[verdict(model, commit)]), state).steps
    assert (step.action, step.wanted) == (Action.BLOCKED, wanted)
    assert step.reason == step.problems[0].what + told


def test_a_blocked_model_of_which_nothing_was_to_change_gives_the_problem_alone():
    gated = AccessError("gated", model="qwen")
    pickle = replace(verdict(a_model()), files=(HubFile("pytorch_model.bin", 1000),))
    refused = Verdict("qwen", "org/qwen", problems=(gated,))
    state = as_deployed(desired(a_model()))
    for found, wanted in ((refused, None), (pickle, Action.NONE)):
        (step,) = make_plan(desired(a_model(), verdicts=[found]), state).steps
        assert (step.action, step.wanted) == (Action.BLOCKED, wanted)
        assert step.reason == step.problems[0].what


def test_a_new_model_that_is_blocked_gives_the_problem_alone():
    large = verdict(a_model(), size=60 * 1024**3)
    (step,) = make_plan(desired(a_model(), verdicts=[large]), NOTHING).steps
    assert (step.action, step.wanted) == (Action.BLOCKED, Action.CREATE)
    assert step.reason == step.problems[0].what


def test_a_blocked_model_frees_nothing(make: Any):
    old, new = a_model("old", replicaCount=0), a_model("new")
    state = as_deployed(desired(a_model("old")))
    state = on_nodes(state, make.node("a", 1), pods=[engine_on(make, "old")])
    refused = Verdict("old", "org/old", problems=(AccessError("gated", model="old"),))
    plan = make_plan(desired(old, new, verdicts=[refused, verdict(new)]), state)
    assert [step.action for step in plan.steps] == [Action.BLOCKED, Action.BLOCKED]
