"""What a run does with the models that a killed run had changed and not proven."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    OLDER,
    RUBBISH,
    UNREADY,
    Tasks,
    a_model,
    aim,
    digests,
    failure,
    revision,
    rolling_to,
    serving,
    verbs,
)
from vllm_flows.desired import Desired
from vllm_flows.drift import Drift
from vllm_flows.errors import RolloutError, WorseError
from vllm_flows.going_back import Past
from vllm_flows.names import ROUTER_DEPLOYMENT
from vllm_flows.observed import ClusterState
from vllm_flows.rollout import Rollout, Strategy


def test_what_somebody_changed_is_set_right_before_what_a_killed_run_left_is_judged(tasks: Tasks):
    drift = Drift("Deployment", ROUTER_DEPLOYMENT, ("spec.replicas: 1 -> 0",))
    state = serving(aim(a_model()), digests(aim(a_model(), commit=OLD)))
    rolling_to(tasks, aim(a_model()), replace(state, drifts=(drift,))).through()
    assert [step.split(":")[0] for step in tasks.done] == ["helm", "wait qwen", "ask qwen"]
    assert tasks.done[0].startswith("helm: changed outside: Deployment vllm-deployment-router")


def test_what_a_killed_run_left_goes_back_also_after_something_was_set_right(tasks: Tasks):
    before = aim(a_model(), commit=OLD)
    tasks.kept = {digests(before)["qwen"]: Past(1, "0.1.8", before.values)}
    tasks.failing = {"qwen": [RUBBISH]}
    drift = Drift("Deployment", ROUTER_DEPLOYMENT, ("spec.replicas: 1 -> 0",))
    state = replace(serving(aim(a_model()), digests(before)), drifts=(drift,))
    failure(tasks, aim(a_model()), state)
    assert [revision(values["qwen"]) for values in tasks.applied] == [NEW, OLD]


def test_what_a_killed_run_left_is_asked_before_anything_is_written(tasks: Tasks):
    state = serving(aim(a_model()), digests(aim(a_model(), commit=OLD)))
    rolling_to(tasks, aim(a_model()), state).through()
    assert tasks.done == ["wait qwen", "ask qwen"]


def test_what_a_killed_run_left_goes_back_when_it_does_not_answer(tasks: Tasks):
    before = aim(a_model(), commit=OLD)
    tasks.kept = {digests(before)["qwen"]: Past(1, "0.1.8", before.values)}
    tasks.failing = {"qwen": [RUBBISH]}
    failure(tasks, aim(a_model()), serving(aim(a_model()), digests(before)))
    assert [revision(values["qwen"]) for values in tasks.applied] == [OLD]
    assert verbs(tasks) == ["wait qwen", "ask qwen", "helm", "wait qwen", "ask qwen"]


def test_what_helm_forgot_and_does_not_answer_has_nothing_to_go_back_to(tasks: Tasks):
    tasks.failing = {"qwen": [RUBBISH]}
    state = serving(aim(a_model()), digests(aim(a_model(), commit=OLD)))
    forgotten = replace(state.release, values=aim(a_model("other")).values)
    told = failure(tasks, aim(a_model()), replace(state, release=forgotten))
    assert tasks.done == ["wait qwen", "ask qwen"]
    assert "nothing of before was brought back" in told.what


def test_a_router_that_does_not_hold_the_new_api_key_yet_gets_it_before_its_models_are_judged(
    tasks: Tasks,
):
    before, after = aim(a_model(), key="one"), aim(a_model(), key="two")
    state = serving(after, digests(before))
    held = {**after.values, "routerSpec": before.values["routerSpec"]}
    state = replace(state, release=replace(state.release, values=held))
    rolling_to(tasks, after, state).through()
    assert verbs(tasks) == ["helm", "wait qwen", "ask qwen"]


def left(tasks: Tasks, **fields: Any) -> ClusterState:
    """Return what a run left that was killed before it had asked the model."""
    before = aim(a_model(**fields), commit=OLD)
    tasks.kept = {digests(before)["qwen"]: Past(1, "0.1.8", before.values)}
    return serving(aim(a_model(**fields)), digests(before))


def held(tasks: Tasks, *models: str) -> ClusterState:
    """Return what a run left that was killed with old and new replicas side by side."""
    return replace(left(tasks), held=frozenset(models))


def test_older_replicas_that_a_killed_run_kept_end_once_the_new_ones_answered(tasks: Tasks):
    rolling_to(tasks, aim(a_model()), held(tasks, "qwen")).through()
    assert tasks.done == [
        *("wait qwen beside", "drain qwen", "let go qwen", "wait qwen", "ask qwen")
    ]


def test_older_replicas_that_a_killed_run_kept_serve_on_when_the_new_ones_do_not_do(tasks: Tasks):
    state = held(tasks, "qwen")
    tasks.failing = {"qwen": [UNREADY]}
    failure(tasks, aim(a_model()), state)
    assert verbs(tasks) == [
        *("wait qwen beside", "set aside qwen", "helm", "let go qwen", "wait qwen", "ask qwen")
    ]
    assert [revision(values["qwen"]) for values in tasks.applied] == [OLD]


def beside(tasks: Tasks, before: Desired | None = None) -> ClusterState:
    """Return what a run left that was killed with old replicas, which were asked, beside new."""
    old = before or aim(a_model(), commit=OLD)
    tasks.kept = {digests(old)["qwen"]: Past(1, "0.1.8", old.values)}
    state = serving(aim(a_model()), digests(old))
    claim = replace(state.claims["qwen"], served=(old.verdicts["qwen"].commit,))
    names = frozenset({"qwen"})
    return replace(state, held=names, kept=names, claims={"qwen": claim})


COMPARED = f"compare qwen with {NEW[:12]}, {OLD[:12]}"


def test_a_commit_that_a_killed_run_brought_is_compared_with_what_answered_before(tasks: Tasks):
    rolling_to(tasks, aim(a_model()), beside(tasks)).through()
    assert tasks.done == [
        *("wait qwen beside", COMPARED, "drain qwen", "let go qwen", "wait qwen", "ask qwen")
    ]


def test_what_a_killed_run_brought_and_is_worse_ends_before_older_replicas_do(tasks: Tasks):
    tasks.worse = {"qwen": WorseError("far slower", next_command="look")}
    told = failure(tasks, aim(a_model()), beside(tasks))
    assert verbs(tasks) == [
        *("wait qwen beside", COMPARED),
        *("set aside qwen", "helm", "let go qwen", "wait qwen", "ask qwen"),
    ]
    assert [revision(values["qwen"]) for values in tasks.applied] == [OLD]
    assert "answers worse than before: bbbbbbbb serves again" in told.what
    assert tasks.refused == {"qwen": (NEW, "far slower")}


@pytest.mark.parametrize(
    "before",
    [
        aim(a_model(vllmConfig={"maxModelLen": 512}), commit=OLD),
        aim(a_model(vllmConfig={"maxModelLen": 512})),
    ],
)
def test_options_that_a_killed_run_brought_may_make_a_model_slower(tasks: Tasks, before: Desired):
    rolling_to(tasks, aim(a_model()), beside(tasks, before)).through()
    assert not [one for one in tasks.done if one.startswith("compare")]


def test_an_update_to_a_third_commit_is_compared_with_what_answered_last(tasks: Tasks):
    state = beside(tasks)
    newest = aim(a_model(), commit=OLDER)
    tasks.beside, tasks.worse = {"qwen"}, {"qwen": WorseError("far slower")}
    with pytest.raises(RolloutError, match="bbbbbbbb serves again"):
        replace(rolling_to(tasks, newest, state), comparing=True).through()
    assert f"compare qwen with {NEW[:12]}, {OLD[:12]}" in tasks.done


def test_the_router_follows_before_older_replicas_end_that_a_killed_run_kept(tasks: Tasks):
    before, after = aim(a_model(), key="one"), aim(a_model(), key="two")
    state = replace(serving(after, digests(before)), held=frozenset({"qwen"}))
    lagging = {**after.values, "routerSpec": before.values["routerSpec"]}
    state = replace(state, release=replace(state.release, values=lagging))
    tasks.router_starts = True
    rolling_to(tasks, after, state).through()
    assert verbs(tasks)[:4] == ["helm", "wait qwen beside", "wait router", "drain qwen"]


def test_what_stays_as_it_was_seen_to_answer_ends_what_was_left_beside_it(tasks: Tasks):
    state = replace(serving(aim(a_model())), held=frozenset({"qwen"}))
    rolling = rolling_to(tasks, aim(a_model()), state)
    assert rolling.run.plan.changes
    rolling.through()
    assert tasks.done == [
        *("wait qwen beside", "drain qwen", "let go qwen", "wait qwen", "ask qwen")
    ]


def test_what_was_left_beside_a_model_that_is_not_asked_ends_once_it_is_ready(tasks: Tasks):
    pooling = aim(a_model(vllmConfig={"runner": "pooling"}))
    rolling_to(tasks, pooling, replace(serving(pooling), held=frozenset({"qwen"}))).through()
    assert tasks.done == ["wait qwen beside", "drain qwen", "let go qwen", "wait qwen"]


def test_what_is_to_stop_is_let_go_unasked(tasks: Tasks):
    state = replace(serving(aim(a_model())), held=frozenset({"qwen"}))
    rolling_to(tasks, aim(a_model(replicaCount=0)), state).through()
    assert verbs(tasks)[:2] == ["let go qwen", "helm"]


def test_a_run_that_changes_another_model_leaves_what_a_killed_run_left_beside_it(tasks: Tasks):
    before, after = aim(a_model(), commit=OLD), aim(a_model(), a_model("other"))
    state = serving(after, {**digests(before), "other": digests(after)["other"]})
    whole = rolling_to(tasks, after, replace(state, held=frozenset({"qwen"})))
    (other,) = [step for step in whole.run.plan.steps if step.model == "other"]
    plan = replace(whole.run.plan, steps=(other,))
    replace(whole, run=replace(whole.run, plan=plan)).through()
    assert tasks.done == []


@pytest.mark.parametrize(
    ("rollout", "goes_on"),
    [(Rollout(Strategy.SURGE, 1), True), (Rollout(Strategy.ONE_AT_A_TIME), False)],
)
def test_no_change_without_room_cuts_what_a_killed_run_left_beside_another_model(
    tasks: Tasks, rollout: Rollout, *, goes_on: bool
):
    """Helm writes one strategy for all models."""
    after = aim(a_model(), a_model("other"))
    before = serving(aim(a_model(), a_model("other"), commit=OLD))
    both = frozenset({"qwen"})
    whole = rolling_to(tasks, after, replace(before, held=both, kept=both))
    (other,) = [step for step in whole.run.plan.steps if step.model == "other"]
    plan = replace(whole.run.plan, steps=(replace(other, rollout=rollout),))
    rolling = replace(whole, run=replace(whole.run, plan=plan))
    if goes_on:
        rolling.through()
    else:
        with pytest.raises(RolloutError, match="older replicas of qwen serve beside") as caught:
            rolling.through()
        assert caught.value.next_command == "vllm-flows update qwen, then the same command again"
    assert bool(tasks.applied) is goes_on


@pytest.mark.parametrize("held", [(), ("qwen",)])
def test_what_a_killed_run_left_is_asked_before_there_are_more_or_fewer_of_it(
    tasks: Tasks, held: tuple[str, ...]
):
    state = replace(left(tasks), held=frozenset(held))
    tasks.failing = {"qwen": [UNREADY]}
    told = failure(tasks, aim(a_model(replicaCount=2)), state)
    assert f"{OLD[:8]} serves again" in told.what
    assert [revision(values["qwen"]) for values in tasks.applied] == [OLD]
    assert [values["qwen"]["replicaCount"] for values in tasks.applied] == [1]


def test_what_had_no_replicas_cannot_be_asked_before_it_has(tasks: Tasks):
    state = left(tasks)
    none = replace(state.deployments["qwen"], replicas=0, ready=0)
    rolling_to(tasks, aim(a_model()), replace(state, deployments={"qwen": none})).through()
    assert verbs(tasks) == ["helm"]


def test_what_stays_whatever_it_answers_is_asked_while_older_replicas_serve_beside_it(
    tasks: Tasks,
):
    tasks.failing = {"qwen": [UNREADY]}
    kept = a_model(onFailure="keep")
    state = replace(left(tasks, onFailure="keep"), held=frozenset({"qwen"}))
    told = failure(tasks, aim(kept), state)
    assert tasks.done == ["wait qwen beside", "let go qwen"]
    assert "nothing of before was brought back" in told.what


def test_what_changes_again_keeps_the_replicas_that_a_killed_run_kept(tasks: Tasks):
    tasks.beside = {"qwen"}
    newest = aim(a_model(vllmConfig={"maxModelLen": 512}))
    rolling_to(tasks, newest, held(tasks, "qwen")).through()
    assert verbs(tasks)[:5] == [
        *("set aside qwen", "helm", "wait qwen beside", "drain qwen", "let go qwen")
    ]


def test_a_hold_ends_where_what_changes_again_finds_no_room_beside_what_serves(tasks: Tasks):
    newest = aim(a_model(vllmConfig={"maxModelLen": 512}))
    rolling_to(tasks, newest, held(tasks, "qwen")).through()
    assert verbs(tasks)[:4] == ["set aside qwen", "helm", "let go qwen", "wait qwen"]
