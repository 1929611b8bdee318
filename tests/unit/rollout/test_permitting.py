"""Updates that events begin: at once, in their window, after somebody's word, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Self
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun, FlowRunInput, State
from prefect.states import Cancelled, Running

from flows import permitting
from tests.unit.rollout.stand_ins import NEW, OLD, a_model
from vllm_flows.models import Model
from vllm_flows.plan import Action, Plan, Step
from vllm_flows.revision_class import Change
from vllm_flows.update_policy import May, Permission


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(permitting, "say", heard.append)
    monkeypatch.setattr(permitting, "flow_run", SimpleNamespace(id=str(RUN), parameters=GIVEN))
    monkeypatch.setattr(permitting, "deployment", SimpleNamespace(id=str(uuid4())))
    return heard


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Note whose older forms are ended, and on whose behalf."""
    found: list[tuple[str, ...]] = []
    monkeypatch.setattr(permitting, "end_older_forms", lambda *given: found.append(given))
    monkeypatch.setattr(permitting, "agreed_before", lambda *_: False)
    monkeypatch.setattr(permitting, "was_asked", lambda *_: False)
    return found


RUN, GIVEN = uuid4(), {"model": "qwen", "change": "weights"}
LICENSE = "its license was mit and is sandbox-1 now"
NOTE = "requestMemory 2Gi is little"


def permitted(
    model: Model,
    change: str = "weights",
    *,
    commit: str = NEW,
    namespace: str = "vllm",
    agreed: bool = False,
) -> May:
    settings = SimpleNamespace(timezone="UTC", namespace=namespace)
    session: Any = SimpleNamespace(settings=settings)
    step = Step("qwen", Action.UPDATE, "revision bbbbbbbb -> cccccccc", notes=(NOTE,))
    run: Any = SimpleNamespace(commit=lambda _: commit, plan=Plan((step,), ""))
    news = permitting.News(
        Change(change), (LICENSE,) if change == "ask" else (), ("LICENSE",), agreed
    )
    return permitting.permitted(session, model, run, news)


class FakeClient:
    """Stands for Prefect's client: makes one run per key, whatever its deployment."""

    def __init__(self) -> None:
        self.made: dict[str, FlowRun] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be closed."""

    def create_flow_run_from_deployment(
        self, deployment: str, *, parameters: Any, state: State, idempotency_key: str
    ) -> FlowRun:
        run = FlowRun(
            flow_id=uuid4(), deployment_id=UUID(deployment), parameters=parameters, state=state
        )
        return self.made.setdefault(idempotency_key, run)


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

    def suspend(**given: Any) -> Any:
        asked.append(given)
        return SimpleNamespace(approve=answer)

    monkeypatch.setattr(permitting, "suspend_flow_run", suspend)
    assert permitted(model, change) is (May.ASK if answer else May.NO)
    assert len(asked) == 1
    assert ("agreed" in said[-1]) is answer


def test_who_is_asked_reads_why_what_changed_and_what_is_planned(
    said: list[str], monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def suspend(wait_for_input: Any, **_: Any) -> Any:
        asked.append(wait_for_input._description)  # noqa: SLF001 -- where Prefect keeps it
        return SimpleNamespace(approve=False)

    monkeypatch.setattr(permitting, "suspend_flow_run", suspend)
    permitted(a_model(), "ask")
    assert asked[0].split("\n\n") == [
        "qwen: update, revision bbbbbbbb -> cccccccc",
        f"for a person to decide: {LICENSE}",
        "other files: LICENSE",
        f"qwen: {NOTE}",
    ]
    assert said[0] == f"qwen: what changed is for a person to decide; {LICENSE}"


@pytest.mark.parametrize("answer", [True, False])
def test_an_answer_counts_though_models_yaml_would_ask_nobody_by_now(
    said: list[str], monkeypatch: pytest.MonkeyPatch, *, answer: bool
):
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr(permitting, "was_asked", lambda *of: not asked.append(of))
    found = SimpleNamespace(approve=answer)
    monkeypatch.setattr(permitting, "suspend_flow_run", lambda **_: found)
    assert permitted(a_model(update="auto")) is (May.ASK if answer else May.NO)
    assert asked == [(str(RUN), f"approval-{NEW}")]
    assert not any("is asked to agree" in text for text in said)


def test_a_form_is_found_again_by_the_commit_that_it_is_about(
    said: list[str], monkeypatch: pytest.MonkeyPatch
):
    keys: list[str] = []

    def suspend(key: str, **_: Any) -> Any:
        keys.append(key)
        return SimpleNamespace(approve=False)

    monkeypatch.setattr(permitting, "suspend_flow_run", suspend)
    for commit in (NEW, NEW, OLD):
        permitted(a_model(update="approve"), commit=commit)
    first, again, other = keys
    assert first == again != other
    assert FlowRunInput(flow_run_id=RUN, key=first, value="")
    assert said


def test_nobody_can_be_asked_without_a_deployment(said: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(permitting, "deployment", SimpleNamespace(id=None))
    assert permitted(a_model(update="approve")) is May.NO
    assert "vllm-flows update qwen" in said[-1]


@pytest.mark.parametrize("update", ["auto", "approve"])
def test_what_is_announced_later_ends_the_forms_of_before(
    said: list[str], ended: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, update: str
):
    answer = SimpleNamespace(approve=True)
    monkeypatch.setattr(permitting, "suspend_flow_run", lambda **_: answer)
    permitted(a_model(update=update))
    assert ended == [("vllm", "qwen", str(RUN))]
    assert said


def test_a_server_that_is_away_holds_no_update_up(said: list[str], monkeypatch: pytest.MonkeyPatch):
    def away(*_: object) -> None:
        raise httpx.ConnectError("no server")

    monkeypatch.setattr(permitting, "end_older_forms", away)
    assert permitted(a_model(update="auto")) is May.NOW
    assert said


SUNDAY = datetime(2030, 1, 6, 3, 0, tzinfo=UTC)


@pytest.fixture
def too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the window open on a Sunday."""
    wait = Permission(May.WAIT, "its window is Sun 03:00-05:00", SUNDAY)
    ask = Permission(May.ASK, "what changed is for a person to decide")

    def may(_model: Model, change: Change, *_: object, agreed: bool) -> Permission:
        return ask if change is Change.ASK and not agreed else wait

    monkeypatch.setattr(permitting, "may_update", may)


@pytest.fixture
def server(said: list[str], too_early: None, monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """Return a server that this run's deployment is on, before the window."""
    del said, too_early
    client = FakeClient()
    monkeypatch.setattr(permitting, "get_client", lambda **_: client)
    of_deployment(monkeypatch)
    return client


def of_deployment(monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the runs that follow be of another deployment."""
    name = str(uuid4())
    monkeypatch.setattr(permitting, "deployment", SimpleNamespace(id=name))
    return name


def test_before_its_window_a_run_like_this_one_is_scheduled_once(
    said: list[str], server: FakeClient
):
    for _ in range(2):
        assert permitted(a_model()) is May.NO
        assert "a run is scheduled for" in said[-1]
    (made,) = server.made.values()
    assert made.parameters == {**GIVEN, "revision": NEW, "agreed": False}
    assert made.state
    assert made.state.state_details.scheduled_time == SUNDAY


def test_what_somebody_agreed_to_waits_for_its_window_and_they_are_not_asked_again(
    server: FakeClient, monkeypatch: pytest.MonkeyPatch
):
    asked: list[bool] = []

    def suspend(**_: Any) -> Any:
        asked.append(True)
        return SimpleNamespace(approve=True)

    monkeypatch.setattr(permitting, "suspend_flow_run", suspend)
    assert permitted(a_model(), "ask") is May.NO
    (made,) = server.made.values()
    assert made.parameters == {**GIVEN, "revision": NEW, "agreed": True}
    assert permitted(a_model(), "ask", agreed=True) is May.NO
    assert (len(asked), len(server.made)) == (1, 1)


def test_who_agreed_is_not_asked_when_it_is_announced_anew_before_its_window(
    said: list[str], server: FakeClient, monkeypatch: pytest.MonkeyPatch
):
    known: list[tuple[str, ...]] = []
    monkeypatch.setattr(permitting, "agreed_before", lambda *of: not known.append(of))
    monkeypatch.setattr(permitting, "suspend_flow_run", lambda **_: pytest.fail("asked"))
    assert permitted(a_model(), "ask") is May.NO
    assert known == [("vllm", "qwen", NEW)]
    assert said[-1] == "qwen: somebody agreed before, and a run is scheduled"
    assert server.made == {}


def test_another_commit_namespace_or_deployment_has_a_run_of_its_own(
    server: FakeClient, monkeypatch: pytest.MonkeyPatch
):
    permitted(a_model())
    permitted(a_model(), commit=OLD)
    permitted(a_model(), namespace="second")
    other = of_deployment(monkeypatch)
    permitted(a_model())
    assert len(server.made) == 4
    assert [str(one.deployment_id) for one in server.made.values()].count(other) == 1


def test_a_run_that_somebody_cancelled_is_said_to_be(said: list[str], server: FakeClient):
    permitted(a_model())
    (made,) = server.made.values()
    made.state = Cancelled()
    permitted(a_model())
    assert len(server.made) == 1
    assert "was cancelled: none is" in said[-1]


def test_a_run_that_was_begun_before_its_time_has_another_after_it(server: FakeClient):
    permitted(a_model())
    (made,) = server.made.values()
    made.state = Running()
    for _ in range(2):
        permitted(a_model())
    assert len(server.made) == 2


@pytest.mark.usefixtures("too_early")
def test_before_its_window_a_run_by_hand_says_from_when_on_it_may(
    said: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(permitting, "deployment", SimpleNamespace(id=None))
    assert permitted(a_model()) is May.NO
    assert "it may be updated from" in said[-1]
