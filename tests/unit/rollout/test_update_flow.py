"""One model brought to another commit: what is done, in which order, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from flows import update
from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    OLDER,
    RUBBISH,
    Tasks,
    a_model,
    aim,
    revision,
    serving,
)
from vllm_flows.completions import UnreachedError
from vllm_flows.diagnosis_categories import Category
from vllm_flows.differences import entries
from vllm_flows.errors import (
    BlockedError,
    ClusterUnavailableError,
    ConfigurationError,
    LockLostError,
    NotDeployedError,
    NotReadyError,
    RolloutError,
    StoppedError,
    TimedOutError,
    WorseError,
)
from vllm_flows.going_back import Past
from vllm_flows.observed import ClusterState, Verdict
from vllm_flows.planning import Decision, decide_update
from vllm_flows.session import Session
from vllm_flows.update_policy import May, Permission
from vllm_flows.updating import why_not
from vllm_flows.waiting import StoppableClock

BOTH = (a_model("a"), a_model("b"))
SETTINGS = aim(*BOTH).settings


def session(tasks: Any = None) -> Any:
    found = Session(SETTINGS, cast("Any", None), cast("Any", tasks), StoppableClock())
    object.__setattr__(found, "refusal", lambda: None)
    return found


def decided(state: ClusterState, commit: str = NEW, **fields: Any) -> Decision:
    verdict = replace(aim(a_model("a"), commit=commit).verdicts["a"], **fields)
    return decide_update(session(), a_model("a"), verdict, state)


SERVING = serving(aim(*BOTH, commit=OLD))


@pytest.fixture(autouse=True)
def chart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the settings' chart be the one that is deployed."""
    monkeypatch.setattr("vllm_flows.desired.locate_chart", lambda _: aim(*BOTH).chart)


def test_an_update_plans_that_one_model_and_no_other():
    made = decided(SERVING)
    assert [step.model for step in made.plan.steps] == ["a"]
    before, after = entries(SERVING.release.values), entries(made.desired.values)
    assert after["b"] == before["b"]
    assert revision(after["a"]) == NEW


def test_what_models_yaml_no_longer_lists_serves_on():
    assert "b" in entries(decided(SERVING).desired.values)
    assert decided(SERVING).plan.steps[0].reason == "revision bbbbbbbb -> cccccccc"


def test_a_model_that_does_not_run_is_for_an_upgrade_to_bring():
    with pytest.raises(NotDeployedError, match="a is not deployed"):
        decided(serving(aim(a_model("b"), commit=OLD)))


def test_another_chart_is_for_an_upgrade_to_bring():
    other = replace(SERVING, release=replace(SERVING.release, chart_version="0.1.9"))
    with pytest.raises(ConfigurationError, match="another chart would change all"):
        decided(other)


def test_what_stands_against_the_commit_blocks_it():
    made = decided(SERVING, custom_code=("modeling.py",))
    with pytest.raises(BlockedError):
        made.plan.raise_if_blocked()


@pytest.mark.parametrize(
    ("announced", "again", "refused", "why"),
    [
        (None, False, False, ""),
        (NEW, False, False, ""),
        (OLDER, False, False, "is at cccccccc by now, and no longer at aaaaaaaa"),
        (None, False, True, "was tried before and did not do (the answer has no text)"),
        (None, True, True, ""),
    ],
)
def test_events_that_come_late_and_commits_that_did_not_do_change_nothing(
    announced: str | None,
    again: bool,  # noqa: FBT001 -- a column of the table
    refused: bool,  # noqa: FBT001 -- a column of the table
    why: str,
):
    state = SERVING
    if refused:
        claim = replace(state.claims["a"], refused={NEW: "the answer has no text"})
        state = replace(state, claims={**state.claims, "a": claim})
    found = why_not(decided(state), announced, again=again)
    assert why in found if why else found == ""


def test_of_a_revision_that_the_hub_does_not_show_nobody_says_that_it_moved():
    assert why_not(decided(SERVING, ""), NEW, again=False) == ""


def test_a_commit_that_is_served_needs_no_update():
    found = why_not(decided(SERVING, OLD), None, again=False)
    assert found == "serves bbbbbbbb already"


def killed_after_helm(**claim: Any) -> ClusterState:
    """Return a cluster in which the commit runs, and the one before was the last to answer."""
    begun = serving(aim(*BOTH))
    before = {"served": (OLD,), "answered": SERVING.claims["a"].answered, **claim}
    return replace(begun, claims={**begun.claims, "a": replace(begun.claims["a"], **before)})


def test_a_commit_that_runs_and_was_not_seen_to_answer_is_an_update_still():
    assert why_not(decided(killed_after_helm()), NEW, again=False) == ""
    held = replace(serving(aim(*BOTH)), held=frozenset({"a"}))
    assert why_not(decided(held), NEW, again=False) == ""
    other = replace(serving(aim(*BOTH)), held=frozenset({"b"}))
    assert why_not(decided(other), NEW, again=False) == "serves cccccccc already"


@dataclass
class Trial:
    """Stands for the tasks of a trial: notes what is done; may fail."""

    tasks: Tasks
    failing: Exception | None = None
    refused: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def tried(self, _session: object, model: Any, served: str, commit: str) -> Iterator[str]:
        assert (served, commit) == (OLD, NEW)
        self.tasks.done.append(f"try {model.name}")
        try:
            yield "trial"
        finally:
            self.tasks.done.append("trial ends")

    def wait(self, *_: object) -> float:
        if self.failing:
            raise self.failing
        return 1.0

    def compare(self, _session: object, model: Any) -> None:
        self.tasks.done.append(f"compare {model.name}")

    def refuse(self, _session: object, _claim: object, commit: str, why: str) -> None:
        self.refused[commit] = why


@pytest.fixture
def trial(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> Trial:
    found = Trial(tasks)

    @contextmanager
    def session_for(**_: object) -> Iterator[object]:
        yield session(tasks)

    @contextmanager
    def locked(given: object, verb: str) -> Iterator[object]:
        tasks.done.append(f"lock for {verb}")
        yield given

    for name, stand_in in {
        "session_for": session_for,
        "locked_in_turn": locked,
        "load_models": lambda _: [*BOTH],
        "check_access": lambda _, models: [a_verdict(models[0].name)],
        "observe_cluster": lambda _: SERVING,
        "show_plan": lambda _: None,
        "bring_weights": lambda _: tasks.done.append("weights"),
        "tried": found.tried,
        "wait_trial": found.wait,
        "compare": found.compare,
        "remember_refused": found.refuse,
        "publish": lambda *_: None,
        "say": tasks.said.append,
    }.items():
        monkeypatch.setattr(update, name, stand_in)
    monkeypatch.setattr("flows.deploy.publish", lambda *_: None)
    monkeypatch.setattr("flows.permitting.end_older_forms", lambda *_: None)
    monkeypatch.setattr("flows.permitting.was_asked", lambda *_: False)
    monkeypatch.setattr("flows.outcomes.ready_now", lambda _: [])
    monkeypatch.setattr("flows.outcomes.prove_all", lambda *_: None)
    return found


def a_verdict(model: str) -> Verdict:
    return aim(a_model(model)).verdicts[model]


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


def test_a_commit_that_does_not_do_on_its_own_meets_nobody_and_is_remembered(trial: Trial):
    trial.failing = RUBBISH
    with pytest.raises(RolloutError, match="tried on its own and does not do; bbbbbbbb serves on"):
        update.update.fn("a")
    assert trial.tasks.done == ["lock for update", "weights", "try a", "trial ends"]
    assert trial.refused == {NEW: "the answer has no text"}


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


@dataclass
class Word:
    """Stands for the one who is asked: notes the question, may change the world, and answers."""

    answer: May = May.ASK
    asked: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def permitted(self, _session: object, model: Any, run: Decision, news: Any) -> May:
        self.asked.append(f"{model.name} {news.change}: {', '.join(news.reasons)}")
        assert run.plan.steps
        self.meanwhile()
        return self.answer


@pytest.fixture
def word(monkeypatch: pytest.MonkeyPatch) -> Word:
    found = Word()
    monkeypatch.setattr(update, "permitted", found.permitted)
    monkeypatch.setattr("flows.permitting.say", lambda _: None)
    return found


def listing(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Let models.yaml say this of the model from now on."""
    monkeypatch.setattr(update, "load_models", lambda _: [a_model("a", **fields)])


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
