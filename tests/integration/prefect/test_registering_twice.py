"""Everything of prefect.yaml on a fresh Prefect server, without a terminal, once and then again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.prefect_server import own_server
from deployments import automating
from deployments.catalogue import deployments
from deployments.places import Place
from sandbox import ports
from tests import prefect_api

ROOT = Path(__file__).parents[3]
ZONE = "Asia/Tokyo"
_SECONDS = 240


@dataclass(frozen=True)
class Server:
    """A Prefect server that nothing was registered on before, and whoever registers there."""

    api: str

    def run(self, *command: str, code: int = 0, **environ: str) -> str:
        """Run a program without a terminal, insist on how it ends, and return what it said."""
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment(**environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def environment(self, **environ: str) -> dict[str, str]:
        """Return the environment of who registers there."""
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PREFECT_API_URL": self.api, "PATH": programs, **environ}

    @contextmanager
    def served(self, said: Path) -> Iterator[None]:
        """Serve as long as the block, and write what it says to a file."""
        command, environ = ("vllm-flows", "serve"), self.environment()
        with (
            said.open("w") as log,
            subprocess.Popen(command, cwd=ROOT, env=environ, stderr=log) as serving,
        ):
            try:
                yield
            finally:
                serving.terminate()

    def run_of(self, name: str) -> dict[str, Any]:
        """Begin a run of a deployment, and return it when it has ended."""
        (found,) = [one for one in self.list("deployments") if one["name"] == name]
        made = prefect_api.ask(self.api, f"deployments/{found['id']}/create_flow_run")
        end = time.monotonic() + _SECONDS / 2
        while True:
            run: dict[str, Any] = prefect_api.ask(self.api, f"flow_runs/{made['id']}", "GET")
            if run["end_time"]:
                return run
            assert time.monotonic() < end, run["state"]
            time.sleep(0.5)

    def list(self, what: str) -> list[dict[str, Any]]:
        """Return all that there are of deployments, automations or work pools."""
        found: list[dict[str, Any]] = prefect_api.ask(self.api, f"{what}/filter")
        return found


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Start a server with a database of its own."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    monkeypatch.setenv("VLLM_TIMEZONE", ZONE)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("VLLM_FLOWS_DIR", raising=False)
    with own_server(ports.unused(), "--no-services") as api:
        yield Server(api)


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


def documented() -> str:
    """Return the commands of the page that says how Prefect's own command registers it all."""
    page = (ROOT / "docs" / "in-cluster.md").read_text()
    (block,) = re.findall(r"## By Prefect's own command\n.*?```sh\n(.*?)```", page, re.DOTALL)
    return str(block)


def directories(server: Server) -> set[str]:
    """Return the folders in which workers run the flows."""
    steps = [step for one in server.list("deployments") for step in one["pull_steps"]]
    return {options["directory"] for step in steps for options in step.values()}


def zones(server: Server) -> set[str]:
    """Return the time zones of all schedules that name an hour of the day."""
    schedules = [
        each["schedule"] for one in server.list("deployments") for each in one["schedules"]
    ]
    return {one["timezone"] for one in schedules if "cron" in one}


@pytest.mark.timeout(_SECONDS)
def test_deploy_flows_twice_leaves_everything_there_once(server: Server):
    others = [one.name for one in automating.read("zombies", Place("vllm"))]
    assert "work pool vllm made" in server.run("vllm-flows", "deploy-flows", "--yes")
    before, waiting = assert_once(server, *others), triggers(server, others)
    assert "made" not in server.run("vllm-flows", "deploy-flows", "--yes")
    assert assert_once(server, *others) == before
    assert triggers(server, others) == waiting
    assert [one["name"] for one in server.list("work_pools")] == ["vllm"]
    assert zones(server) == {ZONE}


@pytest.mark.timeout(_SECONDS)
def test_the_documented_commands_twice_leave_everything_there_once(server: Server):
    server.run("sh", "-ec", documented())
    before = assert_once(server)
    server.run("sh", "-ec", documented())
    assert assert_once(server) == before
    assert directories(server) == {str(ROOT)}
    assert zones(server) == {ZONE}


@pytest.mark.timeout(_SECONDS)
def test_prefects_own_command_without_the_folder_registers_nothing_and_says_what_to_type(
    server: Server,
):
    commands = [line for line in documented().splitlines() if "VLLM_FLOWS_DIR" not in line]
    said = server.run("sh", "-ec", "\n".join(commands), code=1)
    assert "next: export VLLM_FLOWS_DIR=$PWD" in said
    assert "Traceback" not in said
    assert server.list("deployments") == []


@pytest.mark.timeout(_SECONDS)
def test_a_second_namespace_takes_nothing_of_the_first_one(server: Server):
    server.run("vllm-flows", "deploy-flows", "--yes")
    first = assert_once(server, *[one.name for one in automating.read("zombies", Place("vllm"))])
    for command in (documented(), "vllm-flows deploy-flows --yes"):
        code = 64 if "deploy-flows" in command else 1
        said = server.run("sh", "-ec", command, code=code, VLLM_NAMESPACE="second")
        assert "next: vllm-flows deploy-flows --work-pool vllm-second" in said
    words = ["deploy-flows", "--yes", "--work-pool", "vllm-second"]
    server.run("vllm-flows", *words, VLLM_NAMESPACE="second")
    there = {one["name"]: one for one in server.list("deployments")}
    assert there.keys() == {*first, *(f"{name}-second" for name in first)}
    for name, one in there.items():
        namespace = "second" if name.endswith("-second") else "vllm"
        assert one["parameters"] == {"namespace": namespace}
        assert f"namespace:{namespace}" in one["tags"]
        assert one["work_pool_name"] == ("vllm-second" if namespace == "second" else "vllm")
    assert {name: there[name]["id"] for name in first} == first


@pytest.mark.timeout(_SECONDS)
def test_what_was_a_work_pools_can_be_served_afterwards(server: Server, tmp_path: Path):
    server.run("vllm-flows", "deploy-flows", "--yes", "--work-pool", "mine")
    before = {one["name"]: one["id"] for one in server.list("deployments")}
    with server.served(tmp_path / "said"):
        run = server.run_of("health")
    # There is no cluster: that is said by the flow itself, so it was found and began.
    assert run["state"]["type"] == "FAILED", run["state"]
    assert {one["name"]: one["id"] for one in server.list("deployments")} == before
    assert {one["work_pool_name"] for one in server.list("deployments")} == {None}
    assert "they leave work pool mine" in (tmp_path / "said").read_text()


@pytest.mark.timeout(2 * _SECONDS)
def test_schedules_that_people_made_or_paused_stay_so(server: Server, tmp_path: Path):
    server.run("vllm-flows", "deploy-flows", "--yes")
    theirs = {"schedule": {"cron": "0 9 * * *"}, "active": True, "parameters": {"deep": True}}
    (health,) = [one for one in server.list("deployments") if one["name"] == "health"]
    prefect_api.send(server.api, f"deployments/{health['id']}/schedules", [theirs])
    (nightly,) = [one for one in health["schedules"] if one["slug"] == "nightly"]
    paused = f"deployments/{health['id']}/schedules/{nightly['id']}"
    prefect_api.ask(server.api, paused, "PATCH", active=False)
    wanted = {"0 9 * * *": (True, {"deep": True}), "15 3 * * 1-6": (False, {})}
    wanted["15 3 * * 0"] = (True, {"deep": True})
    server.run("vllm-flows", "deploy-flows", "--yes")
    assert schedules(server) == wanted
    server.run("sh", "-ec", documented())
    assert schedules(server) == wanted
    with server.served(tmp_path / "said"):
        server.run_of("health")
    assert schedules(server) == wanted


def schedules(server: Server) -> dict[str, tuple[bool, dict[str, Any]]]:
    """Return of each schedule of `health` whether it is active, and its parameters."""
    (health,) = [one for one in server.list("deployments") if one["name"] == "health"]
    found = {
        one["schedule"]["cron"]: (one["active"], one["parameters"]) for one in health["schedules"]
    }
    assert len(found) == len(health["schedules"])
    return found
