"""Updates that events begin: at once, in their window, after somebody's word, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Self

import pytest
from prefect.exceptions import FlowPauseTimeout

from flows import permitting
from tests.unit.rollout.stand_ins import NEW, a_model
from vllm_flows.models import Model
from vllm_flows.update_policy import May, Permission


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(permitting, "say", heard.append)
    monkeypatch.setattr(permitting, "_form_text", lambda *_: "the plan")
    return heard


def permitted(model: Model, change: str = "weights") -> bool:
    settings = SimpleNamespace(timezone="UTC", approval_timeout=timedelta(hours=1))
    session: Any = SimpleNamespace(settings=settings)
    run: Any = SimpleNamespace(commit=lambda _: NEW)
    return permitting.permitted(session, model, run, change)


def test_what_may_be_updated_by_itself_goes_on(said: list[str]):
    assert permitted(a_model(update="auto"))
    assert said == ["qwen: models.yaml says update: auto"]


@pytest.mark.parametrize(
    ("model", "change"),
    [(a_model(update="never"), "weights"), (a_model(update="auto"), "documentation")],
)
def test_what_may_not_be_updated_stays_and_says_why(said: list[str], model: Model, change: str):
    assert not permitted(model, change)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("model", "change"), [(a_model(update="approve"), "weights"), (a_model(update="auto"), "ask")]
)
@pytest.mark.parametrize("answer", [True, False])
def test_somebody_is_asked_and_their_word_counts(
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    model: Model,
    change: str,
    *,
    answer: bool,
):
    asked: list[dict[str, Any]] = []

    def pause(**given: Any) -> Any:
        asked.append(given)
        return SimpleNamespace(approve=answer)

    monkeypatch.setattr(permitting, "pause_flow_run", pause)
    assert permitted(model, change) is answer
    assert asked[0]["timeout"] == 3600
    assert ("agreed" in said[-1]) is answer


def test_nobodys_answer_is_a_no(said: list[str], monkeypatch: pytest.MonkeyPatch):
    def pause(**_: Any) -> Any:
        raise FlowPauseTimeout("over")

    monkeypatch.setattr(permitting, "pause_flow_run", pause)
    assert not permitted(a_model(update="approve"))
    assert "nobody agreed within 1 h" in said[-1]


class FakeClient:
    """Stands for Prefect's client: notes the runs that it is asked to make."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, dict[str, Any]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be closed."""

    def create_flow_run_from_deployment(self, deployment: Any, **given: Any) -> None:
        self.made.append((deployment, given))


SUNDAY = datetime(2030, 1, 6, 3, 0, tzinfo=UTC)


@pytest.fixture
def too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the window open on a Sunday."""
    wait = Permission(May.WAIT, "its window is Sun 03:00-05:00", SUNDAY)
    monkeypatch.setattr(permitting, "may_update", lambda *_: wait)


@pytest.mark.usefixtures("too_early")
def test_before_its_window_a_run_like_this_one_is_scheduled_once(
    said: list[str], monkeypatch: pytest.MonkeyPatch
):
    client = FakeClient()
    monkeypatch.setattr(permitting, "get_client", lambda **_: client)
    monkeypatch.setattr(permitting, "deployment", SimpleNamespace(id="d"))
    given = {"model": "qwen", "change": "weights"}
    monkeypatch.setattr(permitting, "flow_run", SimpleNamespace(parameters=given))
    for _ in range(2):
        assert not permitted(a_model())
    (deployment, first), (_, second) = client.made
    assert (deployment, first["parameters"]) == ("d", given)
    assert first["idempotency_key"] == second["idempotency_key"]
    assert first["state"].state_details.scheduled_time == SUNDAY
    assert "a run is scheduled for" in said[-1]


@pytest.mark.usefixtures("too_early")
def test_before_its_window_a_run_by_hand_says_from_when_on_it_may(
    said: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(permitting, "deployment", SimpleNamespace(id=None))
    assert not permitted(a_model())
    assert "it may be updated from" in said[-1]
