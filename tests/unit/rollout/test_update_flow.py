"""One model brought to another commit: what is done, in which order, and what is left alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flows import update
from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    OLDER,
    RUBBISH,
    a_model,
    aim,
)
from tests.unit.rollout.updating import (
    LATER,
    SERVING,
    Trial,
    Word,
    changed_since,
    killed_after_helm,
    listing,
)
from vllm_flows.completions import UnreachedError
from vllm_flows.diagnosis_categories import Category
from vllm_flows.errors import (
    BlockedError,
    ClusterUnavailableError,
    LockLostError,
    NotReadyError,
    RolloutError,
    StoppedError,
    TimedOutError,
    WorseError,
)
from vllm_flows.going_back import Past

pytestmark = pytest.mark.usefixtures("chart")


def test_the_commit_is_tried_on_its_own_between_its_weights_and_its_rollout(trial: Trial):
    report = update.update.fn("a")
    *before, helm = trial.tasks.done[:6]
    assert before == ["lock for update", "weights", "try a", "compare a", "trial ends"]
    assert helm.startswith("helm: a: revision bbbbbbbb -> cccccccc")
    assert report.changed
    assert [one.commit for one in report.outcomes] == [NEW]


@pytest.mark.parametrize("fields", [{}, {"on_failure": "keep"}])
def test_what_a_killed_update_left_is_asked_and_remembered(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
):
    monkeypatch.setattr(update, "observe_cluster", lambda _: killed_after_helm())
    listing(monkeypatch, **fields)

    def prove_all(_session: object, models: Any, _proven: object, _hear: object) -> None:
        trial.tasks.done += [f"ask {model.name}" for model in models]

    monkeypatch.setattr("flows.outcomes.prove_all", prove_all)
    report = update.update.fn("a")
    assert "ask a" in trial.tasks.done
    assert "try a" not in trial.tasks.done
    assert trial.tasks.remembered == ["a"]
    assert report.changed


def test_what_a_killed_update_left_goes_back_where_it_does_not_answer(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
):
    state = killed_after_helm()
    trial.tasks.kept[SERVING.claims["a"].proven] = Past(2, "0.1.8", SERVING.release.values)
    monkeypatch.setattr(update, "observe_cluster", lambda _: state)
    trial.tasks.failing["a"] = [RUBBISH]
    with pytest.raises(RolloutError, match="bbbbbbbb serves again"):
        update.update.fn("a")
    assert "helm: back to what served (a: the answer has no text)" in trial.tasks.done
    assert trial.tasks.refused["a"] == (NEW, "the answer has no text")


@pytest.mark.parametrize("fields", [{"update": "approve"}, {"update": "window"}])
def test_what_a_killed_update_left_needs_nobodys_word_and_no_window(
    trial: Trial, word: Word, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
):
    window = {"update_window": "Sun 02:00-02:01"} if fields["update"] == "window" else {}
    listing(monkeypatch, **fields, **window)
    monkeypatch.setattr(update, "observe_cluster", lambda _: killed_after_helm())
    assert update.update.fn("a", revision=NEW, change="weights").changed
    assert word.asked == []
    assert trial.tasks.remembered == ["a"]


@pytest.mark.parametrize(
    "told", [{}, {"revision": NEW}, {"revision": NEW, "change": "weights"}], ids=str
)
def test_what_a_killed_update_left_is_asked_and_no_more_where_its_revision_moved_on(
    trial: Trial, word: Word, monkeypatch: pytest.MonkeyPatch, told: dict[str, str]
):
    later = aim(a_model("a"), commit=LATER).verdicts["a"]
    monkeypatch.setattr(update, "check_access", lambda *_: [later])
    listing(monkeypatch, update="approve")
    monkeypatch.setattr(update, "observe_cluster", lambda _: killed_after_helm())
    report = update.update.fn("a", **told)
    assert [one.commit for one in report.outcomes] == [NEW]
    assert word.asked == []
    assert trial.tasks.remembered == ["a"]
    assert not [one for one in trial.tasks.done if one.startswith(("helm", "try"))]


@pytest.mark.parametrize("how", ["scaled", "stopped", "template"])
def test_what_somebody_changed_before_it_could_be_asked_is_set_right_asked_and_not_tried_anew(
    trial: Trial, word: Word, monkeypatch: pytest.MonkeyPatch, how: str
):
    monkeypatch.setattr(update, "observe_cluster", lambda _: changed_since(how))
    report = update.update.fn("a", revision=NEW, change="weights")
    assert [one.commit for one in report.outcomes] == [NEW]
    assert word.asked == []
    assert trial.tasks.remembered == ["a"]
    assert any(one.startswith("helm: ") for one in trial.tasks.done)
    assert "try a" not in trial.tasks.done


def test_what_stands_against_asking_what_was_left_is_said(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(update, "observe_cluster", lambda _: changed_since("volume"))
    with pytest.raises(BlockedError, match="cannot be served"):
        update.update.fn("a", revision=NEW, change="weights")
    assert trial.tasks.done == []


def test_a_commit_that_does_not_do_on_its_own_meets_nobody_and_is_remembered(trial: Trial):
    trial.failing = RUBBISH
    with pytest.raises(RolloutError, match="tried on its own and does not do; bbbbbbbb serves on"):
        update.update.fn("a")
    assert trial.tasks.done == ["lock for update", "weights", "try a", "trial ends"]
    assert trial.refused == {NEW: "the answer has no text"}


def test_of_a_commit_that_models_yaml_names_and_does_not_do_what_stays_with_the_other_is_told(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
):
    listing(monkeypatch, revision=NEW)
    trial.failing = RUBBISH
    with pytest.raises(RolloutError) as caught:
        update.update.fn("a")
    assert caught.value.next_command.startswith(f"write revision: {OLD} for a in models.yaml")


def test_a_trial_that_finds_no_place_is_said_and_holds_nothing_up(trial: Trial):
    trial.failing = NotReadyError("the volume is on another node [claim-elsewhere]")
    assert update.update.fn("a").changed
    assert any("could not be tried on its own" in text for text in trial.tasks.said)
    assert trial.refused == {}


@pytest.mark.parametrize("category", [Category.ENGINE_ARGUMENT, Category.KV_CACHE])
def test_what_the_trial_shows_of_other_things_is_not_held_against_the_commit(
    trial: Trial, category: Category
):
    trial.failing = NotReadyError(f"so [{category}]", why="told", category=category)
    assert update.update.fn("a").changed
    assert f"a: it could not be tried on its own: so [{category}]: told" in trial.tasks.said
    assert trial.refused == {}


def test_a_trial_that_waited_for_room_all_the_time_ends_the_update_and_no_more(trial: Trial):
    why, category = "no node has 2 free GPUs [no-free-gpu]", Category.NO_FREE_GPU
    trial.failing = TimedOutError("not ready after 20 s", why=why, category=category)
    with pytest.raises(TimedOutError, match="could not be tried on its own; bbbbbbbb serves on"):
        update.update.fn("a")
    assert trial.tasks.done == ["lock for update", "weights", "try a", "trial ends"]
    assert trial.refused == {}


def test_a_trial_that_never_gets_through_its_load_is_remembered_with_what_it_was_at(trial: Trial):
    why = "loading weights: 40 %, 2/5 files [loading]\nmore"
    trial.failing = TimedOutError("not ready after 20 s", why=why, category=Category.LOADING)
    with pytest.raises(RolloutError):
        update.update.fn("a")
    told = "not ready after 20 s: loading weights: 40 %, 2/5 files [loading]"
    assert trial.refused == {NEW: told}


@pytest.mark.parametrize("error", [StoppedError("interrupted"), LockLostError("lost")])
def test_a_trial_that_is_interrupted_ends_the_update(trial: Trial, error: Exception):
    trial.failing = error
    with pytest.raises(type(error)):
        update.update.fn("a")
    assert trial.tasks.done[-1] == "trial ends"


def test_answers_are_compared_with_what_served_and_worse_ones_give_way(trial: Trial):
    trial.tasks.worse["a"] = WorseError("its answers are worse than before: slow")
    with pytest.raises(RolloutError, match="answers worse than before: bbbbbbbb serves") as caught:
        update.update.fn("a")
    assert "vllm-flows update a --again" in caught.value.next_command
    steps = [one.split(":")[0] for one in trial.tasks.done]
    compared = steps.index(f"compare a with {OLD[:12]}")
    assert steps[compared - 1] == "ask a"
    assert steps[compared + 1 :] == ["helm", "wait a", "ask a"]
    assert trial.tasks.refused["a"] == (NEW, "its answers are worse than before: slow")
    assert trial.tasks.remembered == []


def test_what_a_killed_update_left_is_compared_with_what_answered_before_it(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
):
    beside = replace(killed_after_helm(), held=frozenset("a"), kept=frozenset("a"))
    monkeypatch.setattr(update, "observe_cluster", lambda _: beside)
    trial.tasks.kept[SERVING.claims["a"].proven] = Past(2, "0.1.8", SERVING.release.values)
    trial.tasks.worse["a"] = WorseError("its answers are worse than before: slow")
    with pytest.raises(RolloutError, match="answers worse than before: bbbbbbbb serves again"):
        update.update.fn("a")
    compared = trial.tasks.done.index(f"compare a with {NEW[:12]}, {OLD[:12]}")
    assert "drain a" not in trial.tasks.done
    assert trial.tasks.done[compared + 1] == "set aside a"
    assert trial.tasks.refused["a"] == (NEW, "its answers are worse than before: slow")


def test_a_cluster_that_does_not_answer_says_nothing_of_the_commit(trial: Trial):
    trial.failing = ClusterUnavailableError("the Kubernetes API does not answer")
    with pytest.raises(ClusterUnavailableError):
        update.update.fn("a")
    assert trial.refused == {}


def test_what_another_try_can_help_ends_the_update_and_is_held_against_nobody(trial: Trial):
    trial.failing = UnreachedError("the way to the replica broke off")
    with pytest.raises(UnreachedError):
        update.update.fn("a")
    assert trial.refused == {}
    assert trial.tasks.done[-1] == "trial ends"


def test_an_event_that_comes_late_takes_no_lock(trial: Trial):
    assert not update.update.fn("a", revision=OLDER).changed
    assert trial.tasks.done == []
    assert "is at cccccccc by now" in trial.tasks.said[-1]
