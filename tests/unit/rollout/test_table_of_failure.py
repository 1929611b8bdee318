"""The table of a run that failed: every model of the plan, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from flows import deploy, outcomes
from flows.rolling import Rolling
from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    RUBBISH,
    UNREADY,
    Tasks,
    a_model,
    aim,
    rolling_to,
    serving,
)
from vllm_flows.completions import Answer
from vllm_flows.desired import Desired
from vllm_flows.errors import (
    ClusterUnavailableError,
    LockLostError,
    ReleaseError,
    VllmFlowsError,
    WeightsError,
)
from vllm_flows.models import Model
from vllm_flows.names import ROUTER_DEPLOYMENT, engine_deployment
from vllm_flows.observed import ClusterState, Release, ReleaseState

EMPTY = ClusterState(Release(ReleaseState.ABSENT))


@dataclass
class Proof:
    """Stands for the tasks that end a run: who is ready now, who answers, who was asked."""

    tasks: Tasks
    ready: set[str] = field(default_factory=lambda: set("abcd"))
    silent: dict[str, VllmFlowsError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def ready_now(self, _session: object) -> list[str]:
        return [ROUTER_DEPLOYMENT, *map(engine_deployment, self.ready)]

    def prove_all(
        self, _session: object, models: Sequence[Model], _proven: object, hear: Any
    ) -> None:
        self.asked += [model.name for model in models]
        failed = {one.name: self.silent[one.name] for one in models if one.name in self.silent}
        for model in models:
            hear(model.name, failed.get(model.name) or Answer(model.name, "Paris", 0.1))
        for error in failed.values():
            raise error


@pytest.fixture
def proof(monkeypatch: pytest.MonkeyPatch) -> Proof:
    found = Proof(Tasks())
    found.tasks.put_in_place(monkeypatch)
    monkeypatch.setattr(outcomes, "ready_now", found.ready_now)
    monkeypatch.setattr(outcomes, "prove_all", found.prove_all)
    return found


def run(rolling: Rolling) -> None:
    with outcomes.table_of_failure(rolling):
        rolling.through()
        outcomes.prove_rest(rolling)


def table(proof: Proof, desired: Desired, state: ClusterState) -> list[Mapping[str, str | int]]:
    with pytest.raises(VllmFlowsError) as caught:
        run(rolling_to(proof.tasks, desired, state))
    return list(caught.value.table)


def results(rows: Sequence[Mapping[str, str | int]]) -> dict[str, str]:
    return {str(row["model"]): str(row["result"]) for row in rows}


def test_what_answers_failed_went_back_and_was_not_begun_is_told_of_each(proof: Proof):
    before = [a_model(name) for name in "abcd"]
    changed = [a_model(name, vllmConfig={"maxModelLen": 512}) for name in "abc"]
    proof.tasks.failing = {"b": [RUBBISH]}
    rows = table(proof, aim(*changed, before[3]), serving(aim(*before)))
    assert results(rows) == {
        "a": "answers",
        "b": "went back: cccccccc answers",
        "c": "not begun",
        "d": "answers",
    }
    assert proof.asked == ["d"]


def test_the_revision_is_what_the_release_holds_now(proof: Proof):
    models = [a_model(name) for name in "abc"]
    proof.tasks.failing = {"b": [RUBBISH]}
    rows = table(proof, aim(*models), serving(aim(*models, commit=OLD)))
    assert [row["revision"] for row in rows] == [NEW[:8], OLD[:8], OLD[:8]]


def test_a_new_model_that_fails_does_not_hide_the_others(proof: Proof):
    models = (a_model("a"), a_model("b"), a_model("c"))
    proof.ready = {"a"}
    proof.tasks.failing = {"b": [UNREADY]}
    proof.silent = {"c": RUBBISH}
    with pytest.raises(type(UNREADY)) as caught:
        run(rolling_to(proof.tasks, aim(*models), EMPTY))
    assert caught.value is UNREADY
    rows = UNREADY.table
    assert results(rows) == {
        "a": "answers",
        "b": "failed: crash loop",
        "c": "not asked",
    }
    assert [row["ready in"] for row in rows] == ["was ready", "-", "2 s"]
    proof.ready = {"a", "c"}
    proof.tasks.failing = {"b": [UNREADY]}
    assert results(table(proof, aim(*models), EMPTY))["c"] == "failed: the answer has no text"


def test_a_new_model_that_is_ready_and_never_answers_is_told_beside_the_others(proof: Proof):
    models = (a_model("a"), a_model("b"))
    proof.silent = {"a": RUBBISH}
    rows = table(proof, aim(*models), EMPTY)
    assert results(rows) == {"a": "failed: the answer has no text", "b": "answers"}
    assert proof.asked == ["a", "b"]
    assert proof.tasks.remembered == ["b"]


def test_a_model_that_stays_as_it_is_by_its_own_wish_has_failed(proof: Proof):
    proof.tasks.failing = {"a": [UNREADY]}
    keeping = a_model("a", onFailure="keep")
    (row,) = table(proof, aim(keeping), serving(aim(keeping, commit=OLD)))
    assert (row["result"], row["revision"]) == ("failed: crash loop", NEW[:8])


def test_going_back_that_does_not_help_is_told(proof: Proof):
    proof.tasks.failing = {"a": [UNREADY, RUBBISH]}
    (row,) = table(proof, aim(a_model("a")), serving(aim(a_model("a"), commit=OLD)))
    assert row["result"] == "went back, and failed: the answer has no text"


def test_a_helm_that_fails_is_told_of_the_models_that_it_was_to_bring(
    proof: Proof, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> None:
        raise ReleaseError("helm failed")

    monkeypatch.setattr("flows.progress.apply_release", refuse)
    models = (a_model("a"), a_model("b"))
    rows = table(proof, aim(*models), serving(aim(*models, commit=OLD)))
    assert results(rows) == {"a": "failed: helm failed", "b": "not begun"}


def test_weights_that_do_not_come_leave_every_other_change_not_begun(
    proof: Proof, monkeypatch: pytest.MonkeyPatch
):
    lost = WeightsError("no room on the volume", model="b")
    monkeypatch.setattr(
        deploy, "fetch_weights", type("T", (), {"submit": lambda *a: _ended(a[2], lost)})()
    )
    monkeypatch.setattr(
        deploy, "ensure_claim", type("T", (), {"submit": lambda *_: Tasks.future(None)})()
    )
    old, gone = a_model("a"), a_model("gone")
    rolling = rolling_to(proof.tasks, aim(old, a_model("b"), a_model("c")), serving(aim(old, gone)))
    with pytest.raises(WeightsError) as caught, outcomes.table_of_failure(rolling):
        deploy.bring_weights(rolling)
    assert results(caught.value.table) == {
        "a": "answers",
        "b": "failed: no room on the volume",
        "c": "not begun",
        "gone": "not begun",
    }


def _ended(model: Model, lost: VllmFlowsError) -> Any:
    return Tasks.future(lost if model.name == lost.model else None)


def test_a_model_that_is_taken_off_the_list_is_told_too(proof: Proof):
    proof.silent = {"a": RUBBISH}
    rows = table(proof, aim(a_model("a")), serving(aim(a_model("a"), a_model("gone"))))
    assert results(rows) == {"a": "failed: the answer has no text", "gone": "removed"}


def test_a_model_that_only_embeds_is_ready_at_best(proof: Proof):
    pooling = a_model("a", vllmConfig={"runner": "pooling"})
    proof.silent = {"b": RUBBISH}
    rows = table(proof, aim(pooling, a_model("b")), EMPTY)
    assert results(rows) == {"a": "ready", "b": "failed: the answer has no text"}


@pytest.mark.parametrize(
    "error", [LockLostError("lost"), ClusterUnavailableError("the API does not answer")]
)
def test_what_tells_nothing_of_a_model_gets_no_table(proof: Proof, error: VllmFlowsError):
    proof.tasks.failing = {"a": [error]}
    assert table(proof, aim(a_model("a")), serving(aim(a_model("a"), commit=OLD))) == []
    assert proof.asked == []


def test_an_api_that_is_silent_when_the_others_are_asked_hides_no_failure(
    proof: Proof, monkeypatch: pytest.MonkeyPatch
):
    def silent(_session: object) -> list[str]:
        raise ClusterUnavailableError("the API does not answer")

    monkeypatch.setattr(outcomes, "ready_now", silent)
    proof.tasks.failing = {"a": [RUBBISH]}
    models = (a_model("a"), a_model("b"))
    rows = table(proof, aim(*models), serving(aim(*models, commit=OLD)))
    assert results(rows) == {"a": "went back: bbbbbbbb answers", "b": "not begun"}


def test_the_table_of_a_failure_is_published_as_that_of_a_success_is(
    monkeypatch: pytest.MonkeyPatch,
):
    shown: list[tuple[Any, ...]] = []
    monkeypatch.setattr(deploy, "publish_table", lambda *given: shown.append(given))
    error = WeightsError("no room on the volume")
    for rows in ([], [{"model": "a", "result": "not begun"}]):
        error.table = rows
        with pytest.raises(WeightsError), deploy.table_shown():
            raise error
    ((table_shown, key, _),) = shown
    assert (key, table_shown) == ("models", [{"model": "a", "result": "not begun"}])
