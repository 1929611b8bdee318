"""Asking a model that is well, and one that is bad in each of the sandbox's ways."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.engine import faults
from sandbox.engine.faults import Fault
from vllm_flows.completions import ModelsApi
from vllm_flows.health import Kind
from vllm_flows.health_asking import Asked, Asker
from vllm_flows.health_judging import judge_ways
from vllm_flows.health_lanes import Lanes
from vllm_flows.health_memory import Baseline
from vllm_flows.health_router import Counts
from vllm_flows.health_speed import Speed
from vllm_flows.models import Model, SmokeTest
from vllm_flows.replicas import Replica

if TYPE_CHECKING:
    from conftest import FakeSession, Served

MODEL = Model(name="qwen", model_url="org/qwen")
ONE, TWO = [Replica("pod-1", "10.0.0.1")], [Replica("pod-1", "10.0.0.1"), Replica("pod-2", "")]


def ask(
    session: FakeSession,
    replicas: list[Replica] = ONE,
    *,
    model: Model = MODEL,
    baseline: Baseline | None = None,
    **more: Any,
) -> tuple[Asked, list[Kind]]:
    given: Any = session
    lanes = Lanes(8, 3.0)
    with session.models_api() as api:
        way = None if more.get("alone") else api
        asker = Asker(given, way, "a-key", lanes, Counts(), **more)
        asked = asker.ask(model, replicas, baseline)
    return asked, [one.kind for one in judge_ways(asked.routed, asked.own, baseline)]


def test_a_model_that_is_well_tells_its_speed_and_the_shapes_of_its_answers(session: FakeSession):
    session.clock = time_itself()
    asked, found = ask(session)
    assert found == []
    assert asked.own == ()
    assert asked.routed
    assert asked.routed.speed.first
    assert asked.routed.shapes["json"].json
    assert asked.routed.shapes["text"].length > 50


def time_itself() -> Any:
    """Return a clock that goes by itself and never sleeps."""

    class Real:
        def now(self) -> float:
            return time.monotonic()

        def sleep(self, _: float) -> None: ...

    return Real()


def test_a_connection_that_does_not_last_is_no_fault_of_a_model_behind_the_router(
    session: FakeSession,
):
    given: Any = session
    with ModelsApi.at("http://127.0.0.1:9", None) as dead:
        asker = Asker(given, dead, "a-key", Lanes(8, 3.0), Counts())
        asked = asker.ask(MODEL, ONE, None)
    assert asked.routed
    assert asked.routed.way
    assert session.clock.slept == [1.0, 3.0, 10.0]
    assert judge_ways(asked.routed, asked.own, None) == []
    assert [one.kind for one in judge_ways(asked.routed, (), None)] == [Kind.NOT_MEASURED]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.SILENT, Kind.SILENT),
        (Fault.EMPTY, Kind.EMPTY),
        (Fault.WRONG_ID, Kind.WRONG_MODEL),
        (Fault.RUBBISH, Kind.RUBBISH),
        (Fault.KEYLESS, Kind.KEY_IGNORED),
    ],
)
def test_each_way_of_being_bad_has_its_name(
    session: FakeSession, served: Served, fault: Fault, kind: Kind, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vllm_flows.health_asking._SECOND_OPINION", served_limits(served))
    served.engine.fault = fault
    asked, found = ask(session)
    assert found == [kind]
    assert [one.replica for one in asked.own] == (
        ["pod-1"] if fault in {Fault.SILENT, Fault.EMPTY, Fault.WRONG_ID} else []
    )


@pytest.mark.parametrize(
    ("mark", "kind", "helps"),
    [
        ("of-the-key", Kind.OTHER_KEY, "kubectl -n ns delete pod pod-1"),
        ("of-another", Kind.KEY_REFUSED, "vllm-flows install"),
    ],
)
@pytest.mark.parametrize("alone", [True, False])
def test_a_replica_that_refuses_the_key_is_judged_by_its_mark(
    session: FakeSession, mark: str, kind: Kind, helps: str, *, alone: bool
):
    session.routed_key = session.own_key = "another-key"
    session.replicas = [Replica("pod-1", "10.0.0.1", mark)]
    asked, found = ask(session, alone=alone)
    assert found == [kind]
    (finding,) = judge_ways(asked.routed, asked.own, None)
    assert (finding.replica, finding.next_command) == ("pod-1", helps)


def test_a_router_that_alone_refuses_the_key_is_to_be_replaced(session: FakeSession):
    session.routed_key = "another-key"
    session.routers = [Replica("router-1", "", session.mark)]
    asked, found = ask(session)
    assert found == [Kind.NOT_ROUTED]
    (finding,) = judge_ways(asked.routed, asked.own, None)
    assert finding.next_command == "kubectl -n ns delete pod router-1"


def served_limits(served: Served) -> Any:
    with served.api() as api:
        return api.limits


def test_each_of_several_replicas_is_asked_by_itself(session: FakeSession):
    asked, found = ask(session, TWO)
    assert [one.replica for one in asked.own] == ["pod-1", "pod-2"]
    assert found == []


def test_a_model_that_falls_silent_after_some_answers_is_silent(
    session: FakeSession, served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vllm_flows.health_asking._SECOND_OPINION", served_limits(served))
    served.engine.fault, served.engine.spared = Fault.SILENT, 2
    asked, found = ask(session)
    assert found == [Kind.SILENT]
    assert asked.routed
    assert asked.routed.shapes, "what it answered before is kept"


def test_what_seems_slow_is_measured_again_before_it_is_called_so(
    session: FakeSession, served: Served, monkeypatch: pytest.MonkeyPatch
):
    session.clock = time_itself()
    monkeypatch.setitem(faults.SLOW_SECONDS, Fault.SLOW_START, 0.02)
    monkeypatch.setattr("vllm_flows.health_speed._NOTICED_SECONDS", 0.01)
    served.engine.fault = Fault.SLOW_START
    _, found = ask(session, baseline=Baseline("d", Speed(0.0001, 1.0)))
    assert found == [Kind.SLOW_START]
    requests = len(served.engine.metrics.first_token_seconds)
    assert requests == 3 + 1 + 2 + 2, "samples, JSON, samples again and again"


def test_a_replica_is_asked_where_the_router_answers_nobody(session: FakeSession):
    asked, found = ask(session, alone=True)
    assert asked.routed is None
    assert [one.replica for one in asked.own] == ["pod-1"]
    assert found == []


def test_a_second_measurement_whose_way_broke_tells_nothing(
    session: FakeSession, monkeypatch: pytest.MonkeyPatch
):
    session.clock = time_itself()
    monkeypatch.setattr("vllm_flows.health_speed._NOTICED_SECONDS", 0.0)
    given: Any = session

    @contextmanager
    def broken(*_: object) -> Any:
        with ModelsApi.at("http://127.0.0.1:9", None) as dead:
            yield dead

    monkeypatch.setattr(session, "replica_api", broken)
    with session.models_api() as api:
        asker = Asker(given, api, "a-key", Lanes(8, 3.0), Counts())
        asked = asker.ask(MODEL, ONE, Baseline("d", Speed(1e-9, 1.0)))
    assert asked.routed
    assert (asked.routed.error, asked.routed.speed) == (None, Speed())


def test_silence_while_the_api_server_is_silent_too_tells_nothing(
    session: FakeSession, served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vllm_flows.health_asking._SECOND_OPINION", served_limits(served))
    session.open = False
    served.engine.fault = Fault.SILENT
    _, found = ask(session)
    assert found == [Kind.NOT_MEASURED]


def test_what_models_yaml_expects_of_an_answer_is_insisted_on(session: FakeSession):
    right = SmokeTest(expect="Simulated answer from qwen")
    _, found = ask(session, model=MODEL.model_copy(update={"smoke_test": right}))
    assert found == []
    wrong = MODEL.model_copy(update={"smoke_test": SmokeTest(expect="Paris")})
    _, found = ask(session, model=wrong)
    assert found == [Kind.WRONG_ANSWER]


def test_a_base_model_is_not_asked_for_a_chat(session: FakeSession):
    base = MODEL.model_copy(update={"smoke_test": SmokeTest(chat=False)})
    asked, found = ask(session, model=base)
    assert asked.routed
    assert list(asked.routed.shapes) == ["text"]
    assert found == []


class Minutes:
    """A clock that somebody moves."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


def test_no_more_than_so_many_are_asked_at_once():
    lanes, most, inside = Lanes(2, 3.0), 0, 0
    lock = threading.Lock()

    def go() -> None:
        nonlocal most, inside
        with lanes.lane():
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.005)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=go) for _ in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert most <= 2


def test_more_are_asked_while_all_goes_well_and_half_as_many_when_connections_break():
    lanes = Lanes(2, 3.0, Minutes().now)
    lanes.widen()
    with lanes.lane(), lanes.lane(), lanes.lane():
        pass
    wide = Lanes(32, 3.0, Minutes().now)
    for _ in range(50):
        wide.widen()
    assert wide.most == 48
    wide.narrow()
    assert wide.most == 24
    for _ in range(3):
        wide.narrow()
    assert wide.most == 8


def test_who_keeps_silent_holds_nobody_up():
    clock = Minutes()
    lanes = Lanes(1, 3.0, clock.now)
    with lanes.lane():
        clock.time = 3.0
        with lanes.lane():  # would wait for ever
            pass
