"""Two namespaces on one Prefect server: an event begins an update of its own namespace alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from cli.prefect_server import own_server
from deployments.places import Place, claim, read_server, settled
from deployments.registering import catalogue, register
from sandbox import ports
from tests.prefect_api import send
from vllm_flows.revision_class import Change
from vllm_flows.revision_memory import Seen, Told
from vllm_flows.revision_report import event_of

_SECONDS = 240
_PATIENCE = 30.0
_QUIET_SECONDS = 3.0
MODEL = "qwen3"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a server, and register the flows for two namespaces."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    with own_server(ports.unused()) as address:
        monkeypatch.setenv("PREFECT_API_URL", address)
        with temporary_settings({PREFECT_API_URL: address}):
            for namespace in ("vllm", "second"):
                place = settled(Place(namespace), read_server())
                claim(place)
                register(catalogue(tmp_path, namespace, place=place))
            yield address


def began(api: str, commit: str) -> list[tuple[str, str]]:
    """Return name of the deployment and namespace of each update to a commit."""
    names = {one["id"]: one["name"] for one in send(api, "deployments/filter", {})}
    runs = send(api, "flow_runs/filter", {"flows": {"name": {"any_": ["update"]}}})
    return [
        (names[one["deployment_id"]], one["parameters"]["namespace"])
        for one in runs
        if one["parameters"]["revision"] == commit
    ]


@pytest.mark.timeout(_SECONDS)
def test_an_event_begins_one_update_and_that_in_its_own_namespace(api: str):
    for namespace, name in (("vllm", "update"), ("second", "update-second")):
        commit = uuid4().hex
        event = event_of(
            Seen(MODEL, "Qwen/Qwen3-4B", "main", "0" * 40, commit, Change.WEIGHTS),
            Told("0" * 40, commit, Change.WEIGHTS, 0.0, 0.0),
            namespace,
            f"cluster/{namespace}",
        )
        send(api, "events", [{**event, "occurred": datetime.now(UTC).isoformat()}])
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end and not began(api, commit):
            time.sleep(0.2)
        time.sleep(_QUIET_SECONDS)
        assert began(api, commit) == [(name, namespace)]
