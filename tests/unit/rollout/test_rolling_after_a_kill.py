"""What a run does with the models that a killed run had changed and not proven."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    RUBBISH,
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
from vllm_flows.drift import Drift
from vllm_flows.going_back import Past
from vllm_flows.names import ROUTER_DEPLOYMENT


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
