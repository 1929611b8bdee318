"""Everything of prefect.yaml on a fresh Prefect server, without a terminal, once and then again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.prefect_server import own_server
from deployments import automating
from deployments.catalogue import PREFECT_FILE, deployments
from sandbox import ports

ZONE = "Asia/Tokyo"
_SECONDS = 240


@dataclass(frozen=True)
class Server:
    """A Prefect server that nothing was registered on before, and whoever registers there."""

    api: str
    folder: Path

    def run(self, *command: str) -> str:
        """Run a program without a terminal, insist that it succeeds, and return what it said."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PREFECT_API_URL": self.api, "VLLM_FLOWS_DIR": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def prefect(self, *words: str) -> str:
        """Run Prefect's own command line."""
        return self.run(sys.executable, "-P", "-m", "prefect", *words)

    def list(self, what: str) -> list[dict[str, Any]]:
        """Return all that there are of deployments, automations or work pools."""
        answer = httpx.post(f"{self.api}/{what}/filter", json={}, trust_env=False)
        found: list[dict[str, Any]] = answer.raise_for_status().json()
        return found


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Start a server with a database of its own."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("VLLM_TIMEZONE", ZONE)
    with own_server(ports.unused(), "--no-services") as api:
        yield Server(api, tmp_path)


def assert_once(server: Server, *others: str) -> dict[str, str]:
    """Insist that all of prefect.yaml, and other automations, are there once; return the ids."""
    wanted = deployments()
    there = {one["name"]: one for one in server.list("deployments")}
    assert Counter(one["name"] for one in server.list("deployments")) == Counter(
        one.name for one in wanted
    )
    for one in wanted:
        found = there[one.name]["schedules"]
        slugs = [each.slug for each in one.schedules or []]
        assert Counter(each["slug"] for each in found) == Counter(slugs)
        assert all(each["active"] for each in found)
    names = [trigger.name for one in wanted for trigger in one.triggers]
    automations = server.list("automations")
    assert names
    assert Counter(one["name"] for one in automations) == Counter([*names, *others])
    ids = {one["id"] for one in there.values()}
    for one in automations:
        assert one["enabled"]
        assert {each.get("deployment_id") for each in one["actions"]} <= {*ids, None}
    return {name: one["id"] for name, one in there.items()}


def triggers(server: Server, names: list[str]) -> list[dict[str, Any]]:
    """Return what these automations wait for: by its id the server knows how long it has waited."""
    return [one["trigger"] for one in server.list("automations") if one["name"] in names]


def zones(server: Server) -> set[str]:
    """Return the time zones of all schedules that name an hour of the day."""
    schedules = [
        each["schedule"] for one in server.list("deployments") for each in one["schedules"]
    ]
    return {one["timezone"] for one in schedules if "cron" in one}


@pytest.mark.timeout(_SECONDS)
def test_deploy_flows_twice_leaves_everything_there_once(server: Server):
    others = [one.name for one in automating.read("zombies")]
    command = str(Path(sys.executable).with_name("vllm-flows"))
    assert "work pool vllm made" in server.run(command, "deploy-flows", "--yes")
    before, waiting = assert_once(server, *others), triggers(server, others)
    assert "made" not in server.run(command, "deploy-flows", "--yes")
    assert assert_once(server, *others) == before
    assert triggers(server, others) == waiting
    assert [one["name"] for one in server.list("work_pools")] == ["vllm"]
    assert zones(server) == {ZONE}


@pytest.mark.timeout(_SECONDS)
def test_prefects_own_command_twice_leaves_everything_there_once(server: Server):
    server.prefect("work-pool", "create", "vllm", "--type", "process", "--overwrite")
    command = ["--no-prompt", "deploy", "--all", "--prefect-file", str(PREFECT_FILE)]
    server.prefect(*command)
    before = assert_once(server)
    server.prefect(*command)
    assert assert_once(server) == before
