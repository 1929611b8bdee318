"""An update that an event began: whether, when and after whose word it goes on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from flows import update
from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    OLDER,
    a_model,
    aim,
)
from tests.unit.rollout.updating import (
    SERVING,
    Trial,
    Word,
    a_verdict,
    listing,
)
from vllm_flows.errors import (
    BlockedError,
    ConfigurationError,
)
from vllm_flows.observed import Verdict
from vllm_flows.update_policy import May, Permission

pytestmark = pytest.mark.usefixtures("chart")


@pytest.mark.parametrize("answer", [May.NOW, May.ASK, May.NO])
def test_what_an_event_began_goes_on_where_models_yaml_lets_it(
    trial: Trial, word: Word, answer: May
):
    word.answer = answer
    found = update.update.fn("a", change="weights", reasons=["its license changed"])
    assert found.changed is (answer is not May.NO)
    assert word.asked == ["a weights: its license changed"]
    assert bool(trial.tasks.done) is found.changed


@pytest.mark.usefixtures("trial")
def test_who_agreed_is_not_asked_again(word: Word, monkeypatch: pytest.MonkeyPatch):
    listing(monkeypatch, update="approve")
    assert update.update.fn("a", change="weights").changed
    assert word.asked == ["a weights: "]


def test_what_models_yaml_lets_nobody_touch_is_not_even_looked_at(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
):
    listing(monkeypatch, update="never")
    monkeypatch.setattr(update, "check_access", lambda *_: pytest.fail("the Hub was asked"))
    assert not update.update.fn("a", revision=NEW, change="weights").changed
    assert trial.tasks.said == ["a: models.yaml says update: never"]


def test_a_person_is_asked_also_where_something_stands_against_it(
    trial: Trial, word: Word, monkeypatch: pytest.MonkeyPatch
):
    blocked = replace(a_verdict("a"), custom_code=("modeling.py",))
    monkeypatch.setattr(update, "check_access", lambda *_: [blocked])
    word.answer = May.NO
    assert not update.update.fn("a", change="ask").changed
    word.answer = May.ASK
    with pytest.raises(BlockedError):
        update.update.fn("a", change="ask")
    assert word.asked == ["a ask: "] * 2
    assert trial.tasks.done == ["lock for update"]


def test_what_stands_against_an_update_that_nobody_is_asked_about_takes_no_lock(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
):
    blocked = replace(a_verdict("a"), custom_code=("modeling.py",))
    monkeypatch.setattr(update, "check_access", lambda *_: [blocked])
    with pytest.raises(BlockedError):
        update.update.fn("a")
    assert trial.tasks.done == []


@pytest.mark.parametrize("fields", [{"update": "never"}, {"revision": OLD}])
@pytest.mark.parametrize("change", ["weights", "ask"])
def test_what_is_written_into_models_yaml_while_somebody_is_asked_counts(
    trial: Trial,
    word: Word,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, str],
    change: str,
):
    def verdicts(_session: object, models: Any) -> list[Verdict]:
        (model,) = models
        commit = model.revision if model.revision == OLD else NEW
        return [aim(model, commit=commit).verdicts["a"]]

    monkeypatch.setattr(update, "check_access", verdicts)
    word.meanwhile = lambda: listing(monkeypatch, **fields)
    assert not update.update.fn("a", change=change).changed
    assert trial.tasks.done == ["lock for update"]


@pytest.mark.usefixtures("trial")
def test_what_somebody_agreed_to_before_needs_nobodys_word(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("flows.permitting.say", lambda _: None)
    monkeypatch.setattr("flows.permitting._approved", lambda *_: pytest.fail("they were asked"))
    for fields, change in (({"update": "approve"}, "weights"), ({}, "ask")):
        listing(monkeypatch, **fields)
        assert update.update.fn("a", revision=NEW, change=change, agreed=True).changed


def test_a_window_that_closed_while_others_had_their_turn_is_waited_for(
    trial: Trial, word: Word, monkeypatch: pytest.MonkeyPatch
):
    wait = Permission(May.WAIT, "its window is Sun 03:00-05:00", datetime.now(UTC))
    begun: list[str] = []
    monkeypatch.setattr(
        "flows.permitting._begin_again", lambda *given: begun.append(given[1].commit("a"))
    )
    word.answer = May.NOW
    word.meanwhile = lambda: monkeypatch.setattr(
        "flows.permitting.may_update", lambda *_, **__: wait
    )
    assert not update.update.fn("a", change="weights").changed
    assert begun == [NEW]
    assert trial.tasks.done == ["lock for update"]


def test_who_is_to_be_asked_by_now_is_asked_by_another_run_that_holds_no_lock(
    trial: Trial, word: Word, monkeypatch: pytest.MonkeyPatch
):
    begun: list[str] = []
    monkeypatch.setattr(
        "flows.permitting._begin_again", lambda *given: begun.append(given[1].commit("a"))
    )
    word.answer = May.NOW
    word.meanwhile = lambda: listing(monkeypatch, update="approve")
    assert not update.update.fn("a", change="weights").changed
    assert begun == [NEW]
    assert trial.tasks.done == ["lock for update"]


def test_a_commit_that_did_not_do_in_the_run_before_is_not_tried_in_the_next(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
):
    claim = replace(SERVING.claims["a"], refused={NEW: "the answer has no text"})
    later = replace(SERVING, claims={**SERVING.claims, "a": claim})
    states = [SERVING, later]
    monkeypatch.setattr(update, "observe_cluster", lambda _: states.pop(0))
    assert not update.update.fn("a").changed
    assert trial.tasks.done == ["lock for update"]
    assert "was tried before and did not do" in trial.tasks.said[-1]


def test_a_revision_that_moves_on_while_others_have_their_turn_is_left_to_its_own_event(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
):
    commits = [NEW, OLDER]

    def verdicts(*_: object) -> list[Verdict]:
        return [aim(a_model("a"), commit=commits.pop(0)).verdicts["a"]]

    monkeypatch.setattr(update, "check_access", verdicts)
    assert not update.update.fn("a").changed
    assert trial.tasks.done == ["lock for update"]
    assert (
        trial.tasks.said[-1] == "a: its revision is at aaaaaaaa by now, and no longer at cccccccc"
    )


def test_a_model_that_models_yaml_does_not_list_is_named(trial: Trial):
    del trial
    with pytest.raises(ConfigurationError, match="lists no model nope"):
        update.update.fn("nope")


@pytest.mark.parametrize("answer", [May.NOW, May.ASK])
def test_a_model_that_is_taken_off_the_list_while_its_update_waits_has_nothing_to_do(
    trial: Trial, word: Word, monkeypatch: pytest.MonkeyPatch, answer: May
):
    word.answer = answer
    word.meanwhile = lambda: monkeypatch.setattr(update, "load_models", lambda _: [a_model("b")])
    for locks in (1, 0):
        trial.tasks.done.clear()
        assert not update.update.fn("a", revision=NEW, change="weights").changed
        assert trial.tasks.done == ["lock for update"] * locks
        assert trial.tasks.said[-1] == "a: it is not listed any more: nothing to do"
