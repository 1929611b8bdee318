"""Automations are there once by name, whatever somebody made of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Self
from uuid import UUID, uuid4

import pytest
from jinja2 import Environment
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore

from deployments import automating
from deployments.places import Place
from vllm_flows.errors import ConfigurationError

FIRST, SECOND = Place("vllm"), Place("second", suffix="-second")


class Automations:
    """Stands for Prefect's client: a server that takes any number of one name."""

    def __init__(self, *there: Automation) -> None:
        self.there = list(there)
        self.written = 0
        self.blocks: dict[str, UUID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read_automations_by_name(self, name: str) -> list[Automation]:
        return [one for one in self.there if one.name == name]

    def create_automation(self, wanted: AutomationCore) -> None:
        self.there.append(Automation(id=uuid4(), **wanted.model_dump()))

    def update_automation(self, automation_id: UUID, wanted: AutomationCore) -> None:
        self.written += 1
        self.delete_automation(automation_id)
        self.there.append(Automation(id=automation_id, **wanted.model_dump()))

    def delete_automation(self, automation_id: UUID) -> None:
        self.there = [one for one in self.there if one.id != automation_id]

    def read_block_document_by_name(self, name: str, kind: str) -> SimpleNamespace:
        if name not in self.blocks:
            raise automating.ObjectNotFound(Exception((name, kind)))
        return SimpleNamespace(id=self.blocks[name])


def test_of_several_of_a_name_one_stays_and_a_disabled_one_stays_disabled(
    monkeypatch: pytest.MonkeyPatch,
):
    (wanted,) = automating.read("zombies", FIRST)
    old = {**wanted.model_dump(), "enabled": False, "description": "old"}
    server = Automations(Automation(id=uuid4(), **old), Automation(id=uuid4(), **old))
    kept = server.there[0].id
    monkeypatch.setattr(automating, "get_client", lambda **_: server)
    assert automating.automate(FIRST) == [wanted.name]
    (found,) = server.there
    assert (found.id, found.enabled, found.description) == (kept, False, wanted.description)
    assert server.written == 1


def test_one_that_is_as_it_should_be_is_not_written(monkeypatch: pytest.MonkeyPatch):
    server = Automations()
    monkeypatch.setattr(automating, "get_client", lambda **_: server)
    for _ in range(2):
        automating.automate(FIRST)
    assert (len(server.there), server.written) == (1, 0)


def test_a_block_that_is_not_there_is_said_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
):
    server = Automations()
    monkeypatch.setattr(automating, "get_client", lambda **_: server)
    with pytest.raises(ConfigurationError) as refused:
        automating.automate(FIRST, "slack-webhook/ops")
    assert "slack-webhook/ops" in str(refused.value)
    assert server.there == []


def test_every_message_goes_to_the_block_that_was_named():
    block = uuid4()
    actions = [
        each for one in automating.read("notifications", FIRST, block) for each in one.actions
    ]
    assert {getattr(one, "block_document_id", None) for one in actions} == {block}


def test_what_one_namespace_is_told_by_stays_as_it_is_when_another_one_registers(
    monkeypatch: pytest.MonkeyPatch,
):
    server = Automations()
    server.blocks = {"ops": uuid4(), "teamb": uuid4()}
    monkeypatch.setattr(automating, "get_client", lambda **_: server)
    automating.automate(FIRST, "custom-webhook/ops")
    before = list(server.there)
    names = automating.automate(SECOND, "custom-webhook/teamb")
    assert server.there[: len(before)] == before
    assert [one.name for one in server.there[len(before) :]] == names
    assert all(name.endswith(" (second)") for name in names)


def test_an_automation_hears_of_its_own_namespace_alone():
    for one in (*automating.read("zombies", SECOND), *automating.read("notifications", SECOND)):
        heard = one.trigger.model_dump()
        labels = [heard["match"], *heard["match_related"]]
        found = {str(value) for each in labels for value in each.values()}
        assert found & {"prefect.tag.namespace:second", "second"}, one.name
        assert "{{ here" not in str(one.model_dump())
    assert "{{ flow_run.name }}" in str(automating.read("notifications", SECOND)[0].actions)


def test_a_run_is_told_of_once_also_when_prefect_delivers_its_event_again():
    found = [one.trigger.model_dump() for one in automating.read("notifications", FIRST)]
    runs = [one for one in found if one["for_each"]]
    assert [one["within"].total_seconds() for one in runs] == [300, 30]


def test_what_calls_runs_crashed_writes_only_of_what_says_that_nobody_need_be_heard():
    (zombies,) = automating.read("zombies", FIRST)
    expected = zombies.trigger.model_dump()["expect"]
    names = {one.removeprefix("prefect.flow-run.") for one in expected}
    assert {"heartbeat", "Completed", "Failed", "Cancelled", "Suspended"} <= names
    assert not {"*", "Running", "Pending", "Cancelling"} & names


def told(address: str | None) -> list[str]:
    """Return the messages of a server with this address of a run's page."""
    templates = Environment(autoescape=True)
    templates.filters["ui_url"] = lambda _run: address
    state = SimpleNamespace(name="Failed", message="it did not do")
    run = SimpleNamespace(name="my-update", state=state)
    event = SimpleNamespace(payload={"text": "2 down"})
    actions = [each for one in automating.read("notifications", FIRST) for each in one.actions]
    bodies = [one.body for one in actions if isinstance(one, SendNotification)]
    return [templates.from_string(one).render(flow_run=run, event=event) for one in bodies]


def test_messages_link_to_the_run_where_the_server_knows_its_address():
    address = "http://prefect/runs/flow-run/1"
    failed, _, _, waits = told(address)
    assert failed.split() == ["it", "did", "not", "do", address]
    assert waits.endswith(f": {address}")
    for body in told(None):
        assert "None" not in body
        assert body.strip()
