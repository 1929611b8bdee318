"""Updates that events begin: at once, in their window, after somebody's word, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event
from types import SimpleNamespace
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas.responses import SetStateStatus

from flows import permitting
from tests.unit.rollout.stand_ins import NEW, a_model
from vllm_flows.models import Model
from vllm_flows.plan import Action, Plan, Step
from vllm_flows.revision_class import Change
from vllm_flows.update_policy import May, Permission


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(permitting, "say", heard.append)
    monkeypatch.setattr(permitting, "flow_run", SimpleNamespace(id=str(RUN), parameters=GIVEN))
    return heard


RUN, GIVEN = uuid4(), {"model": "qwen", "change": "weights"}
LICENSE = "its license was mit and is sandbox-1 now"
NOTE = "requestMemory 2Gi is little"


def permitted(model: Model, change: str = "weights", seconds: float = 3600) -> May:
    limit = timedelta(seconds=seconds)
    settings = SimpleNamespace(timezone="UTC", approval_timeout=limit)
    session: Any = SimpleNamespace(settings=settings)
    step = Step("qwen", Action.UPDATE, "revision bbbbbbbb -> cccccccc", notes=(NOTE,))
    run: Any = SimpleNamespace(commit=lambda _: NEW, plan=Plan((step,), ""))
    news = permitting.News(Change(change), (LICENSE,) if change == "ask" else (), ("LICENSE",))
    return permitting.permitted(session, model, run, news)


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


def test_what_may_be_updated_by_itself_goes_on(said: list[str]):
    assert permitted(a_model(update="auto")) is May.NOW
    assert said == ["qwen: models.yaml says update: auto", "qwen: other files: LICENSE"]


@pytest.mark.parametrize(
    ("model", "change"),
    [(a_model(update="never"), "weights"), (a_model(update="auto"), "documentation")],
)
def test_what_may_not_be_updated_stays_and_says_why(said: list[str], model: Model, change: str):
    assert permitted(model, change) is May.NO
    assert "update: " in said[0]


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
    assert permitted(model, change) is (May.ASK if answer else May.NO)
    assert asked[0]["timeout"] > 3600
    assert ("agreed" in said[-1]) is answer


def test_who_is_asked_reads_why_what_changed_and_what_is_planned(
    said: list[str], monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def pause(wait_for_input: Any, **_: Any) -> Any:
        asked.append(wait_for_input._description)  # noqa: SLF001 -- where Prefect keeps it
        return SimpleNamespace(approve=False)

    monkeypatch.setattr(permitting, "pause_flow_run", pause)
    permitted(a_model(), "ask")
    assert asked[0].split("\n\n") == [
        "qwen: update, revision bbbbbbbb -> cccccccc",
        f"for a person to decide: {LICENSE}",
        "other files: LICENSE",
        f"qwen: {NOTE}",
    ]
    assert said[0] == f"qwen: what changed is for a person to decide; {LICENSE}"


class Resuming(FakeClient):
    """A server on which a run is paused; the first answers may not come."""

    def __init__(self, *failing: Exception) -> None:
        super().__init__()
        self.failing = list(failing)
        self.resumed = Event()

    def resume_flow_run(self, run: UUID, run_input: dict[str, Any]) -> Any:
        if self.failing:
            raise self.failing.pop()
        assert (run, run_input) == (RUN, {"approve": False})
        self.resumed.set()
        return SimpleNamespace(status=SetStateStatus.ACCEPT)


@pytest.mark.parametrize("failing", [[], [httpx.ConnectError("no server")]])
def test_nobodys_answer_is_a_no_and_no_failure(
    said: list[str], monkeypatch: pytest.MonkeyPatch, failing: list[Exception]
):
    client = Resuming(*failing)

    def pause(timeout: int, **_: Any) -> Any:
        assert timeout > 0
        assert client.resumed.wait(10)
        return SimpleNamespace(approve=False)

    monkeypatch.setattr(permitting, "_POLL_SECONDS", 0)
    monkeypatch.setattr(permitting, "get_client", lambda **_: client)
    monkeypatch.setattr(permitting, "pause_flow_run", pause)
    assert permitted(a_model(update="approve"), seconds=0) is May.NO
    assert said[-1] == "qwen: nobody agreed within 0 s: it stays as it is"


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
    for _ in range(2):
        assert permitted(a_model()) is May.NO
    (deployment, first), (_, second) = client.made
    assert (deployment, first["parameters"]) == ("d", GIVEN)
    assert first["idempotency_key"] == second["idempotency_key"]
    assert first["state"].state_details.scheduled_time == SUNDAY
    assert "a run is scheduled for" in said[-1]


@pytest.mark.usefixtures("too_early")
def test_before_its_window_a_run_by_hand_says_from_when_on_it_may(
    said: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(permitting, "deployment", SimpleNamespace(id=None))
    assert permitted(a_model()) is May.NO
    assert "it may be updated from" in said[-1]
