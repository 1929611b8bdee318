"""A Prefect server and `vllm-flows serve` that can be killed, restarted and locked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from deployments import automating
from deployments.places import Place
from sandbox.ports import unused
from tests import prefect_api
from tests.integration.product.changing_models import REPOSITORY

if TYPE_CHECKING:
    from conftest import Product

EVENT = "huggingface.model.revision"
ENDS = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_SLOW = 1_500_000
"""Bytes per second of a Hub that leaves the time to do something while weights are fetched."""
SOON_SECONDS = 7.0
"""After it a schedule is due; the scheduler looks at changed deployments every five seconds."""
HEARTBEAT_SECONDS = 30
"""The shortest that Prefect allows."""
_LOCKED_SECONDS = 20
_LONG_AGO_SECONDS = 1000
_PATIENCE = 150.0
_LOCK = (
    "import sqlite3, sys, time\n"
    "database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)\n"
    "database.execute('BEGIN EXCLUSIVE')\n"
    "print('locked', flush=True)\n"
    "time.sleep(float(sys.argv[2]))\n"
    "database.execute('ROLLBACK')\n"
)


def until(is_so: Callable[[], object]) -> None:
    """Wait until it is so; a server that does not answer says no."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        try:
            if is_so():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError(is_so)


@dataclass
class Restless:
    """A Prefect server with its own SQLite, and `vllm-flows serve` that uses it."""

    product: Product
    home: Path
    port: int = field(default_factory=unused)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def api(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def environ(self) -> dict[str, str]:
        """What server and worker see."""
        return self.product.environ | {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": self.api,
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    def start(self, name: str, *command: str) -> None:
        """Start a process; what it says is in a file of its name."""
        with (self.product.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.product.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process, SIGKILL to all that it has started too; wait for its end."""
        process = self.processes.pop(name)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        for one in family if number is signal.SIGKILL else []:
            one.kill()
        process.wait(timeout=60)
        psutil.wait_procs(family, timeout=60)

    def start_server(self) -> None:
        """Start the server, and wait until it answers."""
        words = ["server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self.start("server", sys.executable, "-m", "prefect", *words)
        until(lambda: httpx.get(f"{self.api}/health", trust_env=False).is_success)

    def start_worker(self) -> None:
        """Start what runs the flows, and wait until it has registered them."""
        begin = datetime.now(UTC)
        self.start("worker", str(Path(sys.executable).with_name("vllm-flows")), "serve")
        until(lambda: self.deployment("watch", begin))

    def ask(self, path: str, method: str = "POST", **body: object) -> Any:
        """Ask the server's API."""
        return prefect_api.ask(self.api, path, method, **body)

    def deployment(self, name: str, since: datetime | None = None) -> str:
        """Return a deployment's id; "" when it was not registered since then."""
        for one in self.ask("deployments/filter"):
            fresh = since is None or datetime.fromisoformat(one["updated"]) > since
            if one["name"] == name and fresh:
                return str(one["id"])
        return ""

    @contextmanager
    def held_once_it_says(self, text: str) -> Iterator[Callable[[], None]]:
        """Stop the worker's runs as soon as one says this, and yield what lets them go on."""
        log = self.product.folder / "worker.log"
        begin = log.stat().st_size
        end = time.monotonic() + _PATIENCE
        while text not in log.read_bytes()[begin:].decode(errors="replace"):
            assert time.monotonic() < end, log
            time.sleep(0.005)
        runs = psutil.Process(self.processes["worker"].pid).children(recursive=True)

        def go_on() -> None:
            for one in runs:
                with suppress(psutil.NoSuchProcess):
                    one.resume()

        for one in runs:
            with suppress(psutil.NoSuchProcess):
                one.suspend()
        try:
            yield go_on
        finally:
            go_on()

    @contextmanager
    def called_crashed_after(self, seconds: float) -> Iterator[None]:
        """Call runs that died crashed sooner than the shipped automation, by another one."""
        (wanted,) = automating.read("zombies", Place(self.product.namespace))
        hurried = wanted.model_dump(mode="json") | {"name": "hurried"}
        hurried["trigger"]["within"] = seconds
        made = self.ask("automations/", **hurried)
        yield
        self.ask(f"automations/{made['id']}", "DELETE")

    def schedule(self, name: str, *parameters: dict[str, object], every: float = 86400.0) -> None:
        """Give a deployment one schedule for each of the parameters, due soon and all at once."""
        begin = datetime.now(UTC) + timedelta(seconds=SOON_SECONDS)
        when = {"interval": every, "anchor_date": begin.isoformat()}
        place = f"deployments/{self.deployment(name)}"
        for one in self.ask(place, "GET")["schedules"]:
            self.ask(f"{place}/schedules/{one['id']}", "DELETE")
        schedules = [{"schedule": when, "parameters": one} for one in parameters]
        self.ask(place, "PATCH", schedules=schedules)

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """Return the worker's runs of a flow, the oldest first: all but those of later days."""
        found: list[dict[str, Any]] = self.ask(
            "flow_runs/filter",
            flows={"name": {"any_": [flow]}},
            flow_runs={
                "expected_start_time": {"before_": datetime.now(UTC).isoformat()},
                "deployment_id": {"is_null_": False},
            },
            sort="EXPECTED_START_TIME_ASC",
        )
        return found

    def updates(self, new: str) -> list[dict[str, Any]]:
        """Return the runs of `update` that an event about this commit began."""
        return [one for one in self.runs("update") if one["parameters"].get("revision") == new]

    def all_ended(self) -> bool:
        """Say whether nothing is at work."""
        flows = ("watch", "health", "update")
        return all(one["state_type"] in ENDS for flow in flows for one in self.runs(flow))

    def said(self, run: dict[str, Any]) -> str:
        """Return the log of a run."""
        logs = self.ask("logs/filter", logs={"flow_run_id": {"any_": [run["id"]]}})
        return "\n".join(line["message"] for line in logs)

    def update_says(self, new: str, text: str) -> bool:
        """Say whether an update to this commit has said that."""
        return any(text in self.said(run) for run in self.updates(new))

    def events(self, new: str) -> list[dict[str, Any]]:
        """Return the events about a commit, as far as the server has written them down."""
        some = {"event": {"name": [EVENT]}}
        found = self.ask("events/filter", filter=some, limit=50)["events"]
        return [one for one in found if one["payload"]["new"] == new]

    def send(self, event: dict[str, Any], name: str) -> None:
        """Send an event once more, under this id."""
        kept = {key: event[key] for key in ("event", "resource", "payload")}
        body = [{**kept, "id": name, "occurred": datetime.now(UTC).isoformat()}]
        prefect_api.send(self.api, "events", body)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the database's lock from another process for a while; it ends with the block."""
        command = [sys.executable, "-c", _LOCK, str(self.home / "prefect.db"), str(_LOCKED_SECONDS)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"locked\n"
            yield

    def commit(self) -> str:
        """Push a commit of the model with other weights, and slow the Hub down."""
        self.product.hub("rate", bytes_per_second=_SLOW)
        return str(self.product.hub("commit", repo=REPOSITORY, kind="weights")["sha"])

    def hurry(self) -> None:
        """Let the Hub be as fast as it can."""
        self.product.hub("rate", bytes_per_second=None)


def claims(product: Product) -> dict[str, Any]:
    """Return what is remembered of events, by model."""
    for one in product.objects("configmaps"):
        if one["metadata"]["name"] == "vllm-flows-revisions":
            kept: dict[str, Any] = json.loads(one["data"]["told"])
            return kept
    return {}


def age(product: Product) -> None:
    """Let what was told be told some time ago."""
    kept = claims(product)
    for one in kept.values():
        one["sent"] -= _LONG_AGO_SECONDS
    patch = json.dumps({"data": {"told": json.dumps(kept)}})
    product.kubectl("patch", "configmap", "vllm-flows-revisions", "--type=merge", "-p", patch)
