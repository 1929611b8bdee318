"""What a check says of the router, and of models by way of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.health.checking import MODELS, Router, answering, session_with, states, well
from vllm_flows import health_checking
from vllm_flows.completions import KeyRefusedError, NotYetError, SilentError
from vllm_flows.health import (
    ROUTER,
    Checked,
    Kind,
    State,
)
from vllm_flows.health_asking import Asked
from vllm_flows.health_checking import check_health
from vllm_flows.health_judging import Heard, judge_ways
from vllm_flows.health_looking import Look
from vllm_flows.health_of_model import OfModel
from vllm_flows.health_repairs import Repairs, choose
from vllm_flows.router_key import Stray
from vllm_flows.status import Health as Replicas
from vllm_flows.status import Status


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
def test_a_router_that_knows_no_engine_is_told_and_left_to_people(monkeypatch: pytest.MonkeyPatch):
    found, _ = checked_with(monkeypatch, UNROUTED, Stray("ns", lonely=("router-1",)))
    (routed,) = found[ROUTER].findings
    assert (routed.kind, routed.replica, routed.state) == (Kind.NOT_ROUTED, "router-1", State.DOWN)
    (finding,) = found["a"].findings
    assert finding.why.startswith("the router knows no engine; ")
    for one in (routed, finding):
        assert one.next_command.startswith("vllm-flows router-logs   (")
    nodes = {ROUTER: {"router-1": "node-1"}}
    assert choose(list(found.values()), nodes, {}, 0.0, 3) == Repairs()


def router(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


@pytest.mark.usefixtures("_quiet")
def test_each_of_several_routers_is_asked_though_all_is_well_by_way_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
):
    look = Look(router_pods=[router("router-1"), router("router-2")])
    found, suspected = checked_with(monkeypatch, Asked(Heard()), Stray("ns", ("router-2",)), look)
    assert suspected == [["a", "b", "c"]]
    (finding,) = found[ROUTER].findings
    assert (finding.kind, finding.replica) == (Kind.OTHER_KEY, "router-2")
    assert found["a"].findings == ()
    lost = Asked(Heard(error=SilentError("no byte")))
    assert checked_with(monkeypatch, lost, None, look)[1] == [[]], "it is not known to take the key"


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
