"""The check as a whole: who is silent makes nothing but itself inconclusive."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import VirtualClock
from tests.unit.health.checking import MODELS, Router, answering, session_with, states, well
from tests.unit.health.remembering import Remembering
from vllm_flows import health_checking
from vllm_flows.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConfigurationError,
    ConflictError,
    HubUnavailableError,
    MissingProgramError,
    NoRightError,
    NotDeployedError,
    SecretStoreError,
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
from vllm_flows.health_beside import Beside, end
from vllm_flows.health_checking import Outcome, check_health
from vllm_flows.health_choosing import chosen
from vllm_flows.health_hub_asking import Told
from vllm_flows.health_judging import Heard
from vllm_flows.health_keeping import keep, keep_baseline
from vllm_flows.health_looking import Look
from vllm_flows.health_memory import Baseline, Memory, memories, to_write
from vllm_flows.health_of_model import OfModel
from vllm_flows.health_shapes import Shape
from vllm_flows.health_speed import Speed
from vllm_flows.health_volumes import Looked
from vllm_flows.observed import Release, ReleaseState
from vllm_flows.retrying import begun
from vllm_flows.settings import Settings


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
def test_a_key_that_no_store_makes_leaves_all_unknown_with_what_helps():
    def api_key() -> None:
        raise SecretStoreError("the Secret is not made yet", next_command="vllm-flows doctor")

    session = session_with(Router("a", "b", "c"))
    session.api_key = api_key
    found = check_health(session, MODELS, print)
    assert set(states(found).values()) == {State.INCONCLUSIVE}
    assert found.health.checked[0].findings[0].next_command == "vllm-flows doctor"


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
