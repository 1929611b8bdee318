"""The check as a whole: who is silent makes nothing but itself inconclusive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import VirtualClock
from tests.unit.health.remembering import Remembering
from vllm_flows import health_checking
from vllm_flows.completions import KeyRefusedError, NotYetError, SilentError
from vllm_flows.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConfigurationError,
    ConflictError,
    HubUnavailableError,
    MissingProgramError,
    NoRightError,
    NotDeployedError,
)
from vllm_flows.health import (
    HUB,
    RELEASE,
    ROUTER,
    VOLUMES,
    Checked,
    Finding,
    Health,
    Kind,
    State,
)
from vllm_flows.health_asking import Asked
from vllm_flows.health_beside import Beside, BesideTold, end
from vllm_flows.health_checking import Outcome, check_health
from vllm_flows.health_choosing import chosen
from vllm_flows.health_hub_asking import Told
from vllm_flows.health_judging import Heard, judge_ways
from vllm_flows.health_keeping import keep, keep_baseline
from vllm_flows.health_looking import Look
from vllm_flows.health_memory import Baseline, Memory, memories, to_write
from vllm_flows.health_of_model import OfModel
from vllm_flows.health_router import Counts
from vllm_flows.health_shapes import Shape
from vllm_flows.health_speed import Speed
from vllm_flows.health_volumes import Looked
from vllm_flows.models import Model
from vllm_flows.observed import Release, ReleaseState
from vllm_flows.retrying import begun
from vllm_flows.router_key import Stray
from vllm_flows.settings import Settings
from vllm_flows.status import Health as Replicas
from vllm_flows.status import Status
from vllm_flows.waiting import StoppableClock

MODELS = [Model(name=name, model_url=f"org/{name}") for name in ("a", "b", "c")]


class Router:
    """The API that all models share; it may answer nobody."""

    def __init__(self, *listed: str, there: bool = True) -> None:
        self.names, self.there = listed, there

    def is_there(self) -> bool:
        return self.there

    def listed(self) -> list[Any]:
        if not self.there:
            raise NotYetError("no answer")
        return [SimpleNamespace(name=name) for name in self.names]


def session_with(router: Router, clock: Any = None) -> Any:
    @contextmanager
    def models_api(_: str = "") -> Iterator[Router]:
        yield router

    return SimpleNamespace(
        clock=clock or StoppableClock(),
        shared_api=True,
        models_api=models_api,
        api_key=lambda: None,
        way_is_open=lambda: True,
        settings=Settings(),
    )


@pytest.fixture
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked beside the models, and all is well there."""
    told = BesideTold(Looked(), Told({}, Checked(HUB)), {}, Checked(RELEASE))
    monkeypatch.setattr(health_checking, "look", lambda *_: Look())
    monkeypatch.setattr("vllm_flows.health_beside.begin", lambda *_, **__: None)
    monkeypatch.setattr("vllm_flows.health_beside.end", lambda *_: told)
    monkeypatch.setattr("vllm_flows.health_beside.router_counts", lambda *_: Counts())


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], OfModel]) -> None:
    monkeypatch.setattr(health_checking, "check_model", lambda _a, _s, model: answer(model.name))


def well(name: str) -> OfModel:
    return OfModel(Checked(name, ready=1, wanted=1, seconds=1.0))


def states(outcome: Outcome) -> dict[str, State]:
    return {one.name: one.state for one in outcome.health.checked}


def test_a_cluster_that_is_silent_leaves_all_models_inconclusive(monkeypatch: pytest.MonkeyPatch):
    def silent(*_: object) -> Look:
        raise ClusterUnavailableError("the Kubernetes API does not answer")

    monkeypatch.setattr(health_checking, "look", silent)
    found = check_health(session_with(Router()), MODELS, print)
    assert set(states(found).values()) == {State.INCONCLUSIVE}
    assert found.memories == {}, "nothing was learnt"


@pytest.mark.usefixtures("_quiet")
def test_each_model_is_told_by_itself_and_what_they_share_beside(monkeypatch: pytest.MonkeyPatch):
    def answer(name: str) -> OfModel:
        if name == "b":
            raise ClusterUnavailableError("the API went away")
        return well(name)

    said: list[str] = []
    answering(monkeypatch, answer)
    found = check_health(session_with(Router("a", "b", "c")), MODELS, said.append)
    assert states(found) == {
        "a": State.GREEN,
        "b": State.INCONCLUSIVE,
        "c": State.GREEN,
        ROUTER: State.GREEN,
        RELEASE: State.GREEN,
        HUB: State.GREEN,
        VOLUMES: State.GREEN,
    }
    assert said == ["b: the API went away"]
    assert found.memories["a"].state == "green"


@pytest.mark.usefixtures("_quiet")
def test_a_model_that_never_ends_does_not_keep_the_others(monkeypatch: pytest.MonkeyPatch):
    over = threading.Event()

    def answer(name: str) -> OfModel:
        if name == "a":
            over.wait(10)
        return well(name)

    answering(monkeypatch, answer)
    monkeypatch.setattr(health_checking, "_LONGEST_SECONDS", 0.1)
    found = check_health(session_with(Router("a", "b", "c")), MODELS, print)
    over.set()
    assert (states(found)["a"], states(found)["b"]) == (State.INCONCLUSIVE, State.GREEN)


@pytest.mark.usefixtures("_quiet")
def test_a_model_that_the_router_does_not_list_is_told(monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, well)
    found = check_health(session_with(Router("a", "b")), MODELS, print)
    (missing,) = [one for one in found.health.checked if one.name == "c"]
    assert [one.kind for one in missing.findings] == [Kind.NOT_ROUTED]


@pytest.mark.usefixtures("_quiet")
def test_a_model_that_answers_through_the_router_needs_to_be_in_no_list(
    monkeypatch: pytest.MonkeyPatch,
):
    answering(monkeypatch, lambda name: OfModel(well(name).checked, Asked(Heard())))
    found = check_health(session_with(Router()), MODELS, print)
    assert states(found)["a"] is State.GREEN


@pytest.mark.usefixtures("_quiet")
def test_answers_that_the_router_loses_are_told_of_the_router(monkeypatch: pytest.MonkeyPatch):
    lost = Asked(Heard(error=SilentError("no byte")), (Heard("pod-1"),))
    answering(monkeypatch, lambda name: OfModel(well(name).checked, lost))
    found = check_health(session_with(Router("a", "b", "c")), MODELS, print)
    (router,) = [one for one in found.health.checked if one.name == ROUTER]
    assert [one.kind for one in router.findings] == [Kind.LOST]
    assert "3 of 3 models" in router.findings[0].text
    assert states(found)["a"] is State.GREEN


UNROUTED = Asked(Heard(error=NotYetError("not served yet", why="HTTP 404")), (Heard("pod-1"),))
REFUSED = Asked(own=(Heard("pod-1", error=KeyRefusedError("refused")),))


def checked_with(
    monkeypatch: pytest.MonkeyPatch, asked: Asked, found: Stray | None, look: Look | None = None
) -> tuple[dict[str, Checked], list[list[str]]]:
    """Check models that were asked so, where those routers hold another key; who was suspected."""
    suspected: list[list[str]] = []

    def stray(_: object, taking: list[str]) -> Stray | None:
        suspected.append(taking)
        return found

    findings = tuple(judge_ways(asked.routed, asked.own, None))
    monkeypatch.setattr(health_checking, "stray", stray)
    monkeypatch.setattr(health_checking, "look", lambda *_: look or Look())
    answering(monkeypatch, lambda name: OfModel(Checked(name, findings), asked))
    checked = check_health(session_with(Router()), MODELS, print).health.checked
    return {one.name: one for one in checked}, suspected


@pytest.mark.usefixtures("_quiet")
def test_a_router_with_another_key_is_named_with_it_and_the_models_that_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch,
):
    found, suspected = checked_with(monkeypatch, UNROUTED, Stray("ns", ("router-1", "router-2")))
    assert suspected == [["a", "b", "c"]]
    kinds = [(one.kind, one.replica, one.next_command) for one in found[ROUTER].findings]
    assert kinds == [
        (Kind.OTHER_KEY, "router-1", "kubectl -n ns delete pod router-1"),
        (Kind.OTHER_KEY, "router-2", "kubectl -n ns delete pod router-2"),
    ]
    (finding,) = found["a"].findings
    assert finding.kind is Kind.NOT_ROUTED
    assert finding.next_command == "kubectl -n ns delete pod router-1 router-2"
    assert finding.why == "the router holds another API key than the one that is stored; HTTP 404"


@pytest.mark.usefixtures("_quiet")
def test_a_router_from_before_the_stored_key_waits_for_the_install(
    monkeypatch: pytest.MonkeyPatch,
):
    found, _ = checked_with(monkeypatch, UNROUTED, Stray("ns"))
    for one in (found["a"], found[ROUTER]):
        assert one.findings[0].next_for(one.name) == "vllm-flows install"
    assert found[ROUTER].findings[0].kind is Kind.KEY_REFUSED


@pytest.mark.usefixtures("_quiet")
def test_the_router_is_suspected_where_a_key_may_be_the_reason_and_no_run_changes_it(
    monkeypatch: pytest.MonkeyPatch,
):
    lost = Asked(Heard(error=SilentError("no byte")), (Heard("pod-1"),))
    assert checked_with(monkeypatch, lost, None)[1] == []
    assert checked_with(monkeypatch, Asked(Heard()), None)[1] == []
    assert checked_with(monkeypatch, UNROUTED, None, Look(changing=True))[1] == []
    assert checked_with(monkeypatch, REFUSED, None)[1] == [[]]
    assert checked_with(monkeypatch, Asked(own=(Heard("pod-1"),)), None)[1] == [["a", "b", "c"]]


@pytest.mark.usefixtures("_quiet")
def test_a_router_that_answers_nobody_is_down_and_no_model_with_it(
    monkeypatch: pytest.MonkeyPatch,
):
    answering(monkeypatch, well)
    found = check_health(session_with(Router(there=False)), MODELS, print)
    assert states(found)[ROUTER] is State.DOWN
    assert states(found)["a"] is State.GREEN


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize(
    ("replicas", "following"),
    [(None, "vllm-flows install"), (Replicas.DOWN, "vllm-flows router-logs")],
)
def test_logs_are_those_of_a_router_that_there_is(
    monkeypatch: pytest.MonkeyPatch, replicas: Replicas | None, following: str
):
    there = {ROUTER: Status(ROUTER, replicas)} if replicas else {}
    monkeypatch.setattr(health_checking, "look", lambda *_: Look(statuses=there))
    answering(monkeypatch, well)
    found = check_health(session_with(Router(there=False)), MODELS, print)
    (router,) = [one for one in found.health.checked if one.name == ROUTER]
    assert router.findings[0].next_for(ROUTER) == following


@pytest.mark.usefixtures("_quiet")
def test_a_router_that_was_scaled_to_none_is_down_and_comes_back_by_install(
    monkeypatch: pytest.MonkeyPatch,
):
    gone = Status(ROUTER, Replicas.DOWN, diagnosis="scaled to 0", next_command="vllm-flows install")
    monkeypatch.setattr(health_checking, "look", lambda *_: Look(statuses={ROUTER: gone}))
    answering(monkeypatch, well)
    found = check_health(session_with(Router(there=False)), MODELS, print)
    (router,) = [one for one in found.health.checked if one.name == ROUTER]
    (finding,) = router.findings
    assert (finding.state, finding.text) == (State.DOWN, "scaled to 0")
    assert finding.next_for(ROUTER) == "vllm-flows install"


def failing(error: Exception) -> Any:
    def call() -> Any:
        raise error

    return begun(call)


def test_who_is_silent_beside_the_models_is_inconclusive_itself():
    beside = Beside(
        failing(NoRightError("no right to create Job")),
        failing(HubUnavailableError("the Hub does not answer")),
        failing(MissingProgramError("helm is not installed")),
    )
    told = end(beside, Look())
    for one in (told.volumes.shared, told.hub.shared, told.release):
        assert one.state is State.INCONCLUSIVE, one.name
    assert "helm is not installed" in told.release.findings[0].text


def test_what_was_changed_is_told_of_its_model():
    release = (Release(ReleaseState.FAILED), ())
    beside = Beside(begun(Looked), begun(lambda: Told({}, Checked(HUB))), begun(lambda: release))
    told = end(beside, Look())
    assert [one.kind for one in told.release.findings] == [Kind.UNFINISHED]


@pytest.mark.usefixtures("_quiet")
@pytest.mark.parametrize("there", [True, False])
def test_the_outcome_is_remembered_whoever_made_the_config_map(
    monkeypatch: pytest.MonkeyPatch, *, there: bool
):
    answering(monkeypatch, well)
    outcome = check_health(session_with(Router("a", "b", "c")), MODELS, print)
    cluster = Remembering({} if there else None)
    kept = keep(SimpleNamespace(cluster=cluster), outcome, [], whole=True)  # type: ignore[arg-type]
    assert kept.error is None
    found = cluster.memories()
    assert (found["a"].state, found["a"].told) == ("green", "green")


@pytest.mark.usefixtures("_quiet")
def test_a_check_that_may_not_write_counts_all_the_same(monkeypatch: pytest.MonkeyPatch):
    answering(monkeypatch, well)
    outcome = check_health(session_with(Router("a", "b", "c")), MODELS, print)
    cluster: Any = Remembering(error=NoRightError("no right to create ConfigMap"))
    session: Any = SimpleNamespace(cluster=cluster, settings=Settings())
    kept = keep(session, outcome, None, whole=False)
    assert isinstance(kept.error, NoRightError)


def with_baseline(digest: str) -> Memory:
    return Memory(told="green", baseline=Baseline(digest, Speed(0.1, 50.0, 0.02)))


def test_what_an_update_measured_while_a_check_was_under_way_stays():
    seen = Look(memories={"a": with_baseline("old"), "b": with_baseline("old")})
    found = {"a": with_baseline("old"), "b": with_baseline("mine")}
    outcome = Outcome(Health(1.0, 1.0, (Checked("a"), Checked("b"))), found, seen)
    now = to_write({"a": with_baseline("new"), "b": with_baseline("old")}, (), (), None)
    cluster: Any = Remembering(now)
    keep(SimpleNamespace(cluster=cluster), outcome, [], whole=True)  # type: ignore[arg-type]
    kept = {name: one.baseline for name, one in cluster.memories().items()}
    assert {name: one.digest for name, one in kept.items() if one} == {"a": "new", "b": "mine"}


def test_where_there_is_no_namespace_that_is_why_nothing_is_remembered():
    def refuse(_: object) -> None:
        raise ClusterError("cannot create ConfigMap vllm-flows-health: refused (404)")

    cluster = SimpleNamespace(get=lambda *_: None, create=refuse)
    session: Any = SimpleNamespace(cluster=cluster, settings=Settings(namespace="gone"))
    kept = keep(session, Outcome(Health(1.0, 1.0, ()), {"a": Memory()}), None, whole=True)
    assert kept.error
    assert kept.error.what == "there is no namespace gone"
    assert kept.error.next_command == "vllm-flows install"


def test_a_baseline_is_kept_of_one_model_and_all_else_stays_as_others_wrote_it():
    now = to_write({"a": with_baseline("old"), "b": with_baseline("old")}, (), (), None)
    cluster: Any = Remembering(now)
    later = to_write({"a": Memory(state="down", told="down")}, (), (), None)
    cluster.others = [later]  # who writes between the reading and the writing
    session: Any = SimpleNamespace(cluster=cluster)
    keep_baseline(session, "a", Baseline("new", Speed(0.1, 175.0, 0.01), {"text": Shape(9, 5)}))
    found = cluster.memories()
    assert (found["a"].told, found["a"].baseline.digest) == ("down", "new")
    assert found["b"] == memories({"data": now})["b"]


def test_a_baseline_that_others_never_let_through_is_given_up():
    cluster: Any = Remembering({})
    cluster.others = [{"b": "x"}] * 20
    with pytest.raises(ConflictError):
        keep_baseline(SimpleNamespace(cluster=cluster), "a", Baseline("new", Speed()))  # type: ignore[arg-type]


def session_for_choosing(deployed: list[str] | None, file: Any) -> Any:
    def find(*_: object) -> list[dict[str, Any]]:
        if deployed is None:
            raise ClusterUnavailableError("silent")
        template: dict[str, Any] = {"metadata": {}}
        return [
            {"metadata": {"labels": {"model": name}}, "spec": {"template": template}}
            for name in deployed
        ]

    cluster = SimpleNamespace(find=find)
    return SimpleNamespace(
        cluster=cluster, settings=Settings(models_file=file), clock=VirtualClock()
    )


def test_all_that_are_listed_and_all_that_are_deployed_are_checked(tmp_path: Any):
    file = tmp_path / "models.yaml"
    file.write_text("- {name: a, modelURL: org/a}\n")
    session = session_for_choosing(["b", "a"], file)
    assert [one.name for one in chosen(session, [])] == ["a", "b"]
    assert [one.name for one in chosen(session, ["b"])] == ["b"]
    with pytest.raises(ConfigurationError, match="no model 'x'"):
        chosen(session, ["x"])
    assert [one.name for one in chosen(session_for_choosing(None, file), [])] == ["a"]


def test_where_nothing_is_deployed_there_is_nothing_to_check():
    session = session_for_choosing([], Settings().models_file)
    session.settings = Settings()
    with pytest.raises(NotDeployedError):
        chosen(session, [])


def test_the_finding_of_a_silent_cluster_names_the_command(monkeypatch: pytest.MonkeyPatch):
    def silent(*_: object) -> Look:
        raise ClusterUnavailableError("silent", next_command="kubectl cluster-info")

    monkeypatch.setattr(health_checking, "look", silent)
    found = check_health(session_with(Router()), MODELS[:1], print)
    assert found.health.checked[0].findings == (
        Finding(Kind.NOT_MEASURED, "silent", "", "kubectl cluster-info"),
    )
