"""An update that an event began is told anew when it died, and only then."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, Self
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.schemas.automations import Automation
from prefect.states import Suspended

from deployments import catalogue
from deployments.places import Place
from tasks.update_runs import (
    AUTOMATION,
    agreed_before,
    begins,
    end_older_forms,
    end_unanswered_forms,
    was_asked,
)
from vllm_flows.revision_class import Change
from vllm_flows.revision_memory import HOLD_SECONDS, Seen, Told
from vllm_flows.update_runs import (
    SILENT_SECONDS,
    UpdateRun,
    died,
    is_agreed,
    may_have_died,
    older_forms,
    unanswered,
)

NEW = "2" * 40
TOLD = Told("1" * 40, NEW, "weights", 1000.0, 1000.0, arrived=True)
SEEN = Seen("m", "org/name", "main", "1" * 40, NEW, Change.WEIGHTS)
NOW = 10_000.0
RUN = UpdateRun("id", "m", "vllm", NEW, "RUNNING", NOW)


def is_dead(*runs: UpdateRun) -> bool:
    return died({"m": TOLD}, runs, "vllm", NOW) == {"m"}


@pytest.mark.parametrize("state", ["SCHEDULED", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"])
def test_what_waits_or_has_its_end_did_not_die(state: str):
    assert not is_dead(replace(RUN, state=state, heard=0.0))


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_what_should_be_at_work_and_is_not_heard_of_died(state: str):
    assert not is_dead(replace(RUN, state=state, heard=NOW - SILENT_SECONDS))
    assert is_dead(replace(RUN, state=state, heard=NOW - SILENT_SECONDS - 1))


def test_what_crashed_died_unless_another_run_is_at_work_or_came_to_an_end():
    crashed = replace(RUN, state="CRASHED")
    assert is_dead(crashed)
    assert not is_dead(crashed, RUN)
    assert not is_dead(crashed, replace(RUN, state="FAILED", heard=NOW + 1))


@pytest.mark.parametrize("end", ["COMPLETED", "FAILED"])
def test_what_came_after_a_run_that_ended_may_have_died(end: str):
    ended = replace(RUN, state=end, heard=NOW - 2 * SILENT_SECONDS)
    crashed = replace(RUN, state="CRASHED")
    assert is_dead(ended, crashed)
    assert is_dead(crashed, ended)
    assert is_dead(ended, replace(RUN, heard=NOW - SILENT_SECONDS - 1))
    for state in ("SCHEDULED", "PAUSED", "PENDING", "RUNNING"):
        assert not is_dead(ended, crashed, replace(RUN, state=state, heard=NOW - 1))


def test_a_cancelled_update_died_where_its_commit_runs_and_was_not_seen_to_answer():
    cancelled, told = replace(RUN, state="CANCELLED"), {"m": TOLD}
    assert died(told, [cancelled], "vllm", NOW, {"m"}) == {"m"}
    assert died(told, [cancelled], "vllm", NOW, {"other"}) == set()
    assert died(told, [cancelled, RUN], "vllm", NOW, {"m"}) == set()
    assert died(told, [replace(RUN, state="FAILED")], "vllm", NOW, {"m"}) == set()


@pytest.mark.parametrize("field", ["model", "namespace", "revision"])
def test_runs_about_something_else_say_nothing(field: str):
    assert is_dead(replace(RUN, **{field: "other"}))
    assert is_dead()


def test_only_what_arrived_some_time_ago_and_is_to_be_rolled_out_may_have_died():
    def may(seen: Seen, told: Told) -> bool:
        return "m" in may_have_died([seen], {"m": told}, NOW)

    assert may(SEEN, TOLD)
    assert not may(SEEN, replace(TOLD, arrived=False))
    assert not may(SEEN, replace(TOLD, sent=NOW - HOLD_SECONDS + 1))
    assert not may(replace(SEEN, change=Change.DOCUMENTATION), TOLD)
    assert not may(replace(SEEN, refused="the answer has no text"), TOLD)
    assert not may(replace(SEEN, model="other"), TOLD)


FORM = UpdateRun("old", "m", "vllm", NEW, "PAUSED", NOW)


@pytest.mark.parametrize(
    ("fields", "ended"),
    [
        ({}, True),
        ({"id": "newest"}, False),
        ({"model": "other"}, False),
        ({"namespace": "second"}, False),
        ({"state": "SCHEDULED"}, False),
        ({"state": "RUNNING"}, False),
    ],
)
def test_forms_about_the_same_model_end_when_a_newer_one_is_there(
    fields: dict[str, str], *, ended: bool
):
    form = replace(FORM, **fields)
    assert bool(older_forms([form], "vllm", "m", "newest")) is ended


@pytest.mark.parametrize(
    ("fields", "ended"),
    [
        ({"heard": NOW - 101}, True),
        ({"heard": NOW - 99}, False),
        ({"heard": NOW - 101, "namespace": "second"}, False),
        ({"heard": NOW - 101, "state": "RUNNING"}, False),
    ],
)
def test_a_form_that_nobody_answered_in_time_ends(fields: dict[str, Any], *, ended: bool):
    assert bool(unanswered([replace(FORM, **fields)], "vllm", 100.0, NOW)) is ended


@pytest.mark.parametrize(
    ("fields", "agreed"),
    [
        ({}, True),
        ({"agreed": False}, False),
        ({"state": "CANCELLED"}, False),
        ({"model": "other"}, False),
        ({"namespace": "second"}, False),
        ({"revision": "3" * 40}, False),
    ],
)
def test_a_scheduled_run_says_that_somebody_agreed_to_its_commit(
    fields: dict[str, Any], *, agreed: bool
):
    run = UpdateRun("id", "m", "vllm", NEW, "SCHEDULED", NOW, agreed=True)
    assert is_agreed([replace(run, **fields)], "vllm", "m", NEW) is agreed


class FakeClient:
    """Stands for Prefect's client, with one update that waits."""

    def __init__(self) -> None:
        given = {"model": "m", "namespace": "vllm", "revision": NEW, "agreed": True}
        self.run = FlowRun(flow_id=uuid4(), parameters=given, state=Suspended())
        self.ended: dict[UUID, State] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be closed."""

    def read_flow_runs(self, flow_run_filter: FlowRunFilter, offset: int, **_: object) -> Any:
        assert flow_run_filter.state
        assert flow_run_filter.state.type
        assert flow_run_filter.state.type.any_ in ([StateType.PAUSED], [StateType.SCHEDULED])
        self.run.state = State(type=flow_run_filter.state.type.any_[0])
        return [] if offset else [self.run]

    def read_flow_run(self, run: UUID) -> FlowRun:
        assert run == self.run.id
        return self.run

    def set_flow_run_state(self, run: UUID, state: State) -> None:
        self.ended[run] = state


def test_a_form_that_ends_is_no_failure_and_says_why(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setattr("tasks.update_runs.say", said.append)
    for end, why in (
        (lambda: end_older_forms("vllm", "m", "newest"), "a newer one was announced"),
        (
            lambda: end_unanswered_forms("vllm", 3600, time.time() + 3601),
            "nobody agreed within 1 h",
        ),
    ):
        client = FakeClient()
        monkeypatch.setattr("tasks.update_runs.get_client", lambda client=client, **_: client)
        end()
        assert client.ended[client.run.id].is_completed()
        assert why in str(client.ended[client.run.id].message)
        assert why in said[-1]


def test_the_server_knows_who_was_asked_before(monkeypatch: pytest.MonkeyPatch):
    client = FakeClient()
    client.run.empirical_policy.pause_keys = {"asked"}
    monkeypatch.setattr("tasks.update_runs.get_client", lambda **_: client)
    assert was_asked(str(client.run.id), "asked")
    assert not was_asked(str(client.run.id), "other")


def test_the_server_is_asked_whether_somebody_agreed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tasks.update_runs.get_client", lambda **_: FakeClient())
    assert agreed_before("vllm", "m", NEW)
    assert not agreed_before("vllm", "other", NEW)


@pytest.mark.parametrize(
    ("namespace", "enabled", "so"),
    [("vllm", True, True), ("second", True, False), ("vllm", False, False)],
)
def test_an_automation_begins_updates_of_its_own_namespace_while_it_is_enabled(
    namespace: str, *, enabled: bool, so: bool
):
    (update,) = [one for one in catalogue.deployments(Place("vllm")) if one.name == "update"]
    (trigger,) = update.triggers
    trigger.set_deployment_id(uuid4())
    found = Automation(id=uuid4(), **trigger.as_automation().model_dump())
    assert begins(found.model_copy(update={"enabled": enabled}), namespace) is so


def test_the_automation_that_begins_updates_is_called_as_in_prefect_yaml():
    (update,) = [one for one in catalogue.deployments() if one.name == "update"]
    assert [one.name for one in update.triggers] == [AUTOMATION]
