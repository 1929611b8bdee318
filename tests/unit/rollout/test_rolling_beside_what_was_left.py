"""Whom a change without room would cut of what a killed run left, as all share one strategy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows.rolling import Rolling
from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    RUBBISH,
    Tasks,
    a_model,
    aim,
    revision,
    rolling_to,
    serving,
    verbs,
)
from vllm_flows.completions import KeyRefusedError
from vllm_flows.credentials import Credential
from vllm_flows.drift import Drift
from vllm_flows.errors import RolloutError
from vllm_flows.names import ROUTER_DEPLOYMENT
from vllm_flows.plan import Action
from vllm_flows.rollout import Rollout, Strategy
from vllm_flows.session import Session

SURGE, STOP = Rollout(Strategy.SURGE, 1), Rollout(Strategy.STOP_FIRST)
OTHERS = {"vllmConfig": {"maxModelLen": 512}}
DRIFT = Drift("Deployment", ROUTER_DEPLOYMENT, ("spec.replicas: 1 -> 0",))


def changing(
    tasks: Tasks, rollouts: dict[str, Rollout], *, drifts: tuple[Drift, ...] = ()
) -> Rolling:
    """Return a run that changes models so, where `b` and `c` have older pods beside new ones."""
    models = [a_model(name, **(OTHERS if name in rollouts else {})) for name in "abc"]
    both = frozenset("bc")
    state = replace(serving(aim(*map(a_model, "abc"))), held=both, kept=both, drifts=drifts)
    whole = rolling_to(tasks, aim(*models), state)
    steps = [
        replace(step, rollout=rollouts[step.model]) if step.model in rollouts else step
        for step in whole.run.plan.steps
    ]
    return replace(whole, run=replace(whole.run, plan=replace(whole.run.plan, steps=tuple(steps))))


def test_who_was_left_with_both_and_changes_does_so_before_another_stops(tasks: Tasks):
    changing(tasks, {"a": STOP, "b": SURGE}).through()
    asked = tasks.done.index("ask c")
    assert verbs(tasks)[asked + 1 :] == [
        *("set aside b", "helm", "let go b", "wait b", "ask b"),
        *("helm", "wait a", "ask a", "helm"),
    ]


@pytest.mark.parametrize(
    ("rollouts", "drifts", "cut"),
    [
        ({"b": STOP, "c": STOP}, (), "c"),
        ({"a": STOP}, (DRIFT,), "b, c"),
    ],
)
def test_nothing_is_changed_where_a_stop_would_cut_what_was_left(
    tasks: Tasks, rollouts: dict[str, Rollout], drifts: tuple[Drift, ...], cut: str
):
    with pytest.raises(RolloutError, match=f"older replicas of {cut} serve beside") as caught:
        changing(tasks, rollouts, drifts=drifts).through()
    assert caught.value.next_command == f"vllm-flows update {cut[0]}, then the same command again"
    assert tasks.done == []


def test_who_stops_its_own_may(tasks: Tasks):
    changing(tasks, {"b": STOP}).through()
    assert verbs(tasks)[-6:] == ["set aside b", "helm", "let go b", "wait b", "ask b", "helm"]


def test_what_was_left_may_be_set_right_and_asked_before_another_stops(tasks: Tasks):
    changing(tasks, {"a": STOP, "b": SURGE, "c": SURGE}, drifts=(DRIFT,)).through()
    assert [verb for verb in verbs(tasks) if verb.startswith("ask")] == ["ask b", "ask c", "ask a"]


def test_what_is_removed_keeps_nobody_waiting(tasks: Tasks):
    both = frozenset("b")
    before = replace(serving(aim(*map(a_model, "ab"))), held=both, kept=both)
    whole = rolling_to(tasks, aim(a_model("a", **OTHERS)), before)
    steps = [
        replace(step, rollout=STOP) if step.model == "a" else step for step in whole.run.plan.steps
    ]
    assert [step.action for step in steps] == [Action.RESTART, Action.DESTROY]
    plan = replace(whole.run.plan, steps=tuple(steps))
    replace(whole, run=replace(whole.run, plan=plan)).through()
    assert tasks.done[-1] == "remove ['b']"


REFUSAL = KeyRefusedError("replica x: the API key was refused")


def with_the_key_changed(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch, key: str, *models: str, **shared: str
) -> RolloutError:
    """Return how a run ends, made for the key `B`, during which another one was stored."""
    monkeypatch.setattr(Session, "api_key", lambda _: Credential("C", "Secret", stored=True))
    before = serving(aim(*map(a_model, models), commit=OLD, **shared))
    made = rolling_to(tasks, aim(*map(a_model, models), key=key), before)
    made.run = replace(made.run, api_key=Credential("B", "Secret", stored=True))
    with pytest.raises(RolloutError) as caught:
        made.through()
    return caught.value


def test_older_replicas_with_the_run_s_key_serve_on_where_somebody_changed_it_meanwhile(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
):
    tasks.beside, tasks.failing = {"qwen"}, {"qwen": [REFUSAL]}
    told = with_the_key_changed(tasks, monkeypatch, "one", "qwen")
    assert verbs(tasks) == [
        *("helm", "wait qwen beside", "set aside qwen", "helm", "let go qwen"),
        *("wait qwen", "ask qwen with B"),
    ]
    assert [revision(values["qwen"]) for values in tasks.applied] == [NEW, OLD]
    assert f"{OLD[:8]} serves again, as before" in told.what
    assert told.next_command.startswith("vllm-flows install")
    assert tasks.refused == {}


def test_where_the_run_changed_the_key_itself_nobody_starts_with_a_third_one(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
):
    tasks.failing = {"a": [REFUSAL], "b": [RUBBISH]}
    told = with_the_key_changed(tasks, monkeypatch, "two", "a", "b")
    assert "nothing of before was brought back" in told.what


def test_where_the_run_changed_the_key_itself_older_replicas_are_of_no_use_then(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
):
    tasks.beside, tasks.failing = {"qwen"}, {"qwen": [REFUSAL]}
    told = with_the_key_changed(tasks, monkeypatch, "two", "qwen")
    assert "nothing of before was brought back" in told.what


def test_where_one_refuses_the_key_and_all_would_go_back_together_nobody_does(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
):
    """Its new pods would read the key that somebody stored, and the router has another."""
    tasks.failing = {"a": [REFUSAL], "b": [RUBBISH]}
    told = with_the_key_changed(tasks, monkeypatch, "one", "a", "b", runtime_class="")
    assert "nothing of before was brought back" in told.what
    assert len(tasks.applied) == 1
