"""What becomes of a model that does not answer after its change: it goes back, or stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from flows import progress
from flows.rolling import Rolling
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
from vllm_flows.chart import Chart
from vllm_flows.completions import KeyRefusedError
from vllm_flows.credentials import Credential
from vllm_flows.differences import entries
from vllm_flows.errors import RolloutError, VllmFlowsError
from vllm_flows.going_back import Past
from vllm_flows.rollout import AT_REST, Rollout, Strategy
from vllm_flows.session import Session
from vllm_flows.waves import Wave, stops_pods, with_strategy


def brought(monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
    """Return the list to which every helm adds the values that it brings."""
    values: list[Mapping[str, Any]] = []
    monkeypatch.setattr(
        progress, "apply_release", lambda _session, _chart, given, *_: values.append(given)
    )
    return values


def stop_first(made: Rolling, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the run's only wave stop the model's pods before the new ones start."""
    values = with_strategy(made.run.desired.values, Rollout(Strategy.STOP_FIRST))
    monkeypatch.setattr(Rolling, "waves", lambda _: [Wave(values, ("qwen",))])


@pytest.mark.parametrize("error", [UNREADY, RUBBISH])
def test_a_model_that_fails_goes_back_to_what_its_claim_saw_answer(
    tasks: Tasks, error: VllmFlowsError
):
    before = aim(a_model(), commit=OLDER)
    tasks.kept = {digests(before)["qwen"]: Past(1, "0.1.8", before.values)}
    tasks.failing = {"qwen": [error]}
    tasks.silent = 12.0
    state = serving(aim(a_model(), commit=OLD), digests(before))
    told = failure(tasks, aim(a_model()), state)
    assert [revision(values["qwen"]) for values in tasks.applied] == [NEW, OLDER]
    assert verbs(tasks)[-2:] == ["wait qwen", "ask qwen"]
    assert told.what == (
        "after its change it does not answer: aaaaaaaa serves again, as before; "
        "nobody answered for 12 s of this run"
    )
    assert error.what in told.why
    assert "onFailure: keep" in told.next_command
    assert told.model == "qwen"


def test_where_helm_kept_nothing_of_it_the_last_entry_comes_back(tasks: Tasks):
    tasks.failing = {"qwen": [RUBBISH]}
    failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    assert tasks.asked_history == ["qwen"]
    assert [revision(values["qwen"]) for values in tasks.applied] == [NEW, OLD]


def test_a_claim_that_saw_no_answer_has_the_last_entry_come_back(tasks: Tasks):
    tasks.failing = {"qwen": [RUBBISH]}
    failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD), {"qwen": ""}))
    assert tasks.asked_history == []
    assert [revision(values["qwen"]) for values in tasks.applied] == [NEW, OLD]


def test_where_the_chart_changed_the_whole_release_goes_back(tasks: Tasks):
    tasks.failing = {"qwen": [RUBBISH]}
    newer = replace(aim(a_model()), chart=Chart("vllm-stack", (), "0.1.9"))
    state = serving(aim(a_model(), commit=OLD))
    state = replace(state, release=replace(state.release, finished=3))
    failure(tasks, newer, state)
    assert verbs(tasks)[-3:] == ["rollback to 3", "wait qwen", "ask qwen"]


@pytest.mark.parametrize("now", [Credential("C", "Secret", stored=True), None])
def test_a_key_that_somebody_changed_meanwhile_is_said_and_nothing_goes_back(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch, now: Credential | None
):
    monkeypatch.setattr(Session, "api_key", lambda _: now)
    tasks.failing = {"qwen": [KeyRefusedError("replica x: the API key was refused")]}
    told = refused_failure(tasks)
    assert told.what == (
        "after its change it does not answer: it stays as it is, nothing of before was brought back"
    )
    assert "qwen: the stored API key was changed by somebody while this run was at work" in told.why
    assert "replica x: the API key was refused" in told.why
    assert told.next_command == "vllm-flows install"
    assert verbs(tasks)[-1] == "ask qwen"
    assert tasks.refused == {}


@pytest.mark.parametrize("error", [KeyRefusedError("the API key was refused"), RUBBISH])
def test_where_the_key_is_still_the_run_s_a_model_goes_back(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch, error: VllmFlowsError
):
    stored = Credential("B", "Secret", stored=True)
    key = Credential("C", "Secret", stored=True) if error is RUBBISH else stored
    monkeypatch.setattr(Session, "api_key", lambda _: key)
    tasks.failing = {"qwen": [error]}
    assert "serves again, as before" in refused_failure(tasks).what


def refused_failure(tasks: Tasks) -> RolloutError:
    """Return how a run ends that was made for the key `B`."""
    made = rolling_to(tasks, aim(a_model(), key="two"), serving(aim(a_model())))
    made.run = replace(made.run, api_key=Credential("B", "VLLM_API_KEY", stored=False))
    with pytest.raises(RolloutError) as caught:
        made.through()
    return caught.value


def test_what_served_without_an_api_key_is_asked_without_one(tasks: Tasks):
    tasks.failing = {"qwen": [RUBBISH]}
    failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD, key=None)))
    assert verbs(tasks) == [
        *("helm", "wait qwen", "helm", "wait qwen", "ask qwen"),
        *("helm", "wait qwen", "ask qwen without a key"),
    ]


def test_models_after_the_one_that_failed_serve_on_as_they_are(tasks: Tasks):
    models = (a_model("a"), a_model("b"))
    tasks.failing = {"a": [UNREADY]}
    failure(tasks, aim(*models), serving(aim(*models, commit=OLD)))
    assert [revision(values["b"]) for values in tasks.applied] == [OLD, OLD]
    assert "ask b" not in tasks.done


def test_after_going_back_no_deployment_is_left_to_stop_its_pods_first(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
):
    tasks.failing = {"qwen": [UNREADY]}
    values = brought(monkeypatch)
    made = rolling_to(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    stop_first(made, monkeypatch)
    with pytest.raises(RolloutError):
        made.through()
    assert [stops_pods(each) for each in values] == [True, True, False]
    assert values[2] == with_strategy(values[1], AT_REST)


def test_only_a_model_that_goes_back_ends_older_pods_that_are_ready(tasks: Tasks):
    models = (a_model("a"), a_model("b"))
    tasks.failing = {"b": [UNREADY]}
    failure(tasks, aim(*models), serving(aim(*models, commit=OLD)))
    assert tasks.made_way == ["b"]


@pytest.mark.parametrize("lasting", [True, False])
def test_what_is_to_be_kept_stays_as_it_is_with_the_way_to_look_into_it(
    tasks: Tasks, *, lasting: bool
):
    tasks.failing, tasks.lasting, tasks.silent = {"qwen": [UNREADY]}, lasting, 2.0
    keeping = a_model(onFailure="keep")
    told = failure(tasks, aim(keeping), serving(aim(keeping, commit=OLD)))
    assert verbs(tasks) == ["helm", "wait qwen"]
    assert "it stays as it is, nothing of before was brought back" in told.what
    assert told.what.endswith("of this run, and since" if lasting else "of this run")
    assert told.next_command == "look at the log"


def test_what_was_kept_and_does_not_answer_keeps_no_other_change_waiting(tasks: Tasks):
    kept, other = a_model("a", onFailure="keep"), a_model("b")
    before = aim(kept, commit=OLD)
    tasks.failing = {"a": [RUBBISH]}
    state = serving(aim(kept, other), {**digests(before), "b": digests(aim(other))["b"]})
    rolling_to(tasks, aim(kept, a_model("b", vllmConfig={"maxModelLen": 512})), state).through()
    assert verbs(tasks) == ["helm", "wait b", "ask b"]


def test_what_is_kept_leaves_no_deployment_that_stops_its_pods_first(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
):
    tasks.failing = {"qwen": [UNREADY]}
    values = brought(monkeypatch)
    keeping = a_model(onFailure="keep")
    made = rolling_to(tasks, aim(keeping), serving(aim(keeping, commit=OLD)))
    stop_first(made, monkeypatch)
    with pytest.raises(RolloutError):
        made.through()
    assert [stops_pods(each) for each in values] == [True, False]
    assert revision(entries(values[1])["qwen"]) == NEW


def test_a_release_that_went_back_as_a_whole_is_left_as_helm_brought_it(
    tasks: Tasks, monkeypatch: pytest.MonkeyPatch
):
    tasks.failing = {"qwen": [UNREADY]}
    values = brought(monkeypatch)
    newer = replace(aim(a_model()), chart=Chart("vllm-stack", (), "0.1.9"))
    state = serving(aim(a_model(), commit=OLD))
    stopping = with_strategy(state.release.values, Rollout(Strategy.STOP_FIRST))
    made = rolling_to(tasks, newer, replace(state, release=replace(state.release, values=stopping)))
    with pytest.raises(RolloutError):
        made.through()
    assert len(values) == 1


def test_a_model_that_only_went_back_with_the_others_is_not_remembered(tasks: Tasks):
    models = (a_model("a"), a_model("b"))
    tasks.failing = {"a": [RUBBISH]}
    failure(tasks, aim(*models, runtime_class="other"), serving(aim(*models)))
    assert tasks.remembered == []


def test_models_that_come_back_or_go_with_the_whole_release_are_named(tasks: Tasks):
    tasks.failing = {"a": [RUBBISH]}
    newer = replace(aim(a_model("a"), a_model("new")), chart=Chart("vllm-stack", (), "0.1.9"))
    told = failure(tasks, newer, serving(aim(a_model("a"), a_model("gone"), commit=OLD)))
    assert "gone: was removed, and is there again with the release" in told.why
    assert "new: was new, and is gone again with the release" in told.why


def test_the_next_command_of_what_was_wrong_stands_beside_the_way_to_look_into_it(tasks: Tasks):
    tasks.failing = {"qwen": [UNREADY]}
    told = failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    first, second = told.next_command.splitlines()
    assert first == "look at the log"
    assert "onFailure: keep" in second


def test_a_retry_is_made_with_new_pods_and_ends_well_when_they_answer(tasks: Tasks):
    tasks.failing = {"qwen": [UNREADY]}
    again = a_model(onFailure="retry")
    made = rolling_to(tasks, aim(again), serving(aim(again, commit=OLD)))
    made.through()
    assert verbs(tasks) == ["helm", "wait qwen", "restart qwen", "wait qwen", "ask qwen"]
    assert made.answers["qwen"].text == "Paris"


def test_a_retry_that_fails_too_goes_back(tasks: Tasks):
    tasks.failing = {"qwen": [UNREADY, RUBBISH]}
    again = a_model(onFailure="retry")
    told = failure(tasks, aim(again), serving(aim(again, commit=OLD)))
    assert [revision(values["qwen"]) for values in tasks.applied] == [NEW, OLD]
    assert told.why == "qwen: the answer has no text"


def test_only_who_is_to_be_tried_again_gets_new_pods(tasks: Tasks):
    tasks.failing = {"qwen": [RUBBISH]}
    failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    assert not any(step.startswith("restart") for step in tasks.done)


def test_where_what_served_does_not_answer_any_more_that_is_said(tasks: Tasks):
    tasks.failing = {"qwen": [UNREADY, RUBBISH]}
    told = failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    assert "going back did not help either: the answer has no text" in told.what
    assert "serves again" not in told.what


def test_a_setting_of_all_engines_goes_back_with_all_of_them_when_some_do_not_answer(tasks: Tasks):
    models = (a_model("a"), a_model("b"), a_model("c"))
    before = serving(aim(*models))
    tasks.failing = {"a": [UNREADY], "b": [RUBBISH]}
    told = failure(tasks, aim(*models, runtime_class="other"), before)
    assert tasks.applied == [tasks.applied[0], entries(before.release.values)]
    assert told.model is None
    assert verbs(tasks)[-6:] == [f"{verb} {name}" for verb in ("wait", "ask") for name in "abc"]
    first, second, along = told.why.splitlines()
    assert (first, second) == ("a: crash loop (exit code 1)", "b: the answer has no text")
    assert along.startswith("c: went back too")
