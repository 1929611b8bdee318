"""What goes wrong reaches people by a notification block, in one message for each incident."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings

from cli.prefect_server import own_server
from deployments import automating
from deployments.places import Place
from deployments.registering import catalogue, register
from sandbox import ports
from tests import prefect_api
from vllm_flows.health import Checked, Finding, Kind
from vllm_flows.health_events import Change, summary

_SECONDS = 240
_PATIENCE = 60.0
_QUIET = 4.0
PLACE = Place("vllm")


@dataclass
class Inbox:
    """An HTTP server that people's messages come to."""

    messages: list[dict[str, str]] = field(default_factory=list)

    @contextmanager
    def opened(self) -> Iterator[str]:
        """Serve, and yield the address."""
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                inbox.messages.append(json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def until(self, count: int) -> list[dict[str, str]]:
        """Wait for so many messages, and then whether there are more."""
        end = time.monotonic() + _PATIENCE
        while len(self.messages) < count and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(_QUIET)
        assert len(self.messages) == count, self.messages
        return self.messages


@dataclass(frozen=True)
class Told:
    """A Prefect server whose automations tell an inbox."""

    api: str
    inbox: Inbox

    def ask(self, method: str, path: str, body: Any) -> Any:
        """Ask the API."""
        return prefect_api.content(prefect_api.answer(self.api, path, method, body))

    def run(self, flow: str, *states: StateType) -> str:
        """Make a run of a deployment go through these states, and return its id."""
        found = self.ask("GET", f"deployments/name/{flow}/{flow}", None)
        of = {"model": "qwen3"} if flow == "update" else {}
        made = {"name": f"my-{flow}", "parameters": of}
        run = self.ask("POST", f"deployments/{found['id']}/create_flow_run", made)
        for one in states:
            state = State(type=one, message="it did not do").model_dump(mode="json")
            body = {"state": {key: state[key] for key in ("type", "message")}, "force": True}
            self.ask("POST", f"flow_runs/{run['id']}/set_state", body)
        return str(run["id"])

    def event(self, **event: Any) -> None:
        """Send an event."""
        moment = datetime.now(UTC).isoformat()
        self.ask("POST", "events", [{"id": str(uuid4()), "occurred": moment, **event}])


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """Start a server, with all deployments and automations registered twice."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    inbox = Inbox()
    with inbox.opened() as address, own_server(ports.unused()) as api:
        monkeypatch.setenv("PREFECT_API_URL", api)
        with temporary_settings({PREFECT_API_URL: api}):
            _make_block(address)
            for _ in range(2):
                register(catalogue(tmp_path, place=PLACE))
                automating.automate(PLACE, "custom-webhook/ops")
            yield Told(api, inbox)


def _make_block(address: str) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    data = {"subject": "{{subject}}", "body": "{{body}}"}
    block = CustomWebhookNotificationBlock(name="ops", url=address, json_data=data)
    block.save("ops", overwrite=True)


@pytest.mark.timeout(_SECONDS)
def test_one_message_for_each_incident(told: Told):
    names = Counter(one["name"] for one in told.ask("POST", "automations/filter", {}))
    assert set(names.values()) == {1}
    assert len([name for name in names if name.startswith("vllm-flows: ")]) == 5
    told.run("deploy", StateType.RUNNING, StateType.FAILED)
    told.run("update", StateType.RUNNING, StateType.PAUSED)
    told.run("update", StateType.RUNNING, StateType.COMPLETED)
    # One that looks and fails is no incident yet: the next one comes soon.
    told.run("watch", StateType.RUNNING, StateType.FAILED)
    told.event(**_health(2))
    _deliver_again(told, told.run("rollback", StateType.RUNNING))
    said = {one["subject"]: one["body"] for one in told.inbox.until(4)}
    assert set(said) == {
        "my-deploy: Failed",
        "my-update waits for somebody to agree",
        "vllm: 2 now down",
        "my-rollback: Running",
    }
    assert said["my-deploy: Failed"].startswith("it did not do")
    assert f"{told.api.removesuffix('/api')}/runs/" in said["my-deploy: Failed"]
    assert said["vllm: 2 now down"].splitlines()[0].startswith("model-0: green -> down")


def _deliver_again(told: Told, run_id: str) -> None:
    """Tell of one moment several times, as Prefect itself does it where its SQLite was busy.

    The API takes an event of an id once, so each has one of its own here.
    """
    related = [_related(f"prefect.tag.{tag}", "tag") for tag in PLACE.tags]
    failed = {
        "occurred": datetime.now(UTC).isoformat(),
        "event": "prefect.flow-run.Failed",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run_id}"},
        "related": [*related, _related(f"prefect.flow.{uuid4()}", "flow", "rollback")],
    }
    for _ in range(3):
        told.event(**failed)


def _related(resource: str, role: str, name: str = "") -> dict[str, str]:
    return {
        "prefect.resource.id": resource,
        "prefect.resource.role": role,
        "prefect.resource.name": name,
    }


def _health(models: int) -> dict[str, Any]:
    finding = Finding(Kind.SILENT, "no byte comes back")
    made = [Checked(f"model-{number}", (finding,)) for number in range(models)]
    return summary([Change(one, "vllm", "green", 1.0) for one in made])


@pytest.mark.timeout(_SECONDS)
def test_a_run_that_is_not_heard_of_is_called_crashed_and_told(told: Told):
    with get_client(sync_client=True) as client:
        (zombies,) = client.read_automations_by_name(automating.read("zombies", PLACE)[0].name)
        hurried = zombies.trigger.model_copy(update={"within": timedelta(seconds=10)})
        (wanted,) = automating.read("zombies", PLACE)
        client.update_automation(zombies.id, wanted.model_copy(update={"trigger": hurried}))
    run_id = told.run("deploy", StateType.RUNNING)
    tags = [_related(f"prefect.tag.{tag}", "tag") for tag in PLACE.tags]
    resource = {"prefect.resource.id": f"prefect.flow-run.{run_id}"}
    told.event(event="prefect.flow-run.heartbeat", resource=resource, related=tags)
    (message,) = told.inbox.until(1)
    assert message["subject"] == "my-deploy: Crashed"
    assert "Nothing was heard of it" in message["body"]
