"""What serves the flows ends quietly, and lives with a server that is away for a while."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cli.prefect_server import answers, own_server
from sandbox import ports
from tests.prefect_api import ask
from tests.support import as_on_a_terminal

_SECONDS = 600
_PATIENCE = 120.0
_AWAY_SECONDS = 20.0
"""Prefect's own listener for Cancel gives up by then, at a poll each second."""
PROGRAM = """
import time
from pathlib import Path
from prefect import flow
from cli.serving import serve_until_ended

@flow
def patient():
    print("at work", flush=True)
    Path(__file__).with_name("at-work").touch()
    try:
        time.sleep(300)
    finally:
        Path(__file__).with_name("in-good-order").touch()

if __name__ == "__main__":
    serve_until_ended([patient.to_deployment("patient")])
"""


def until(there: Callable[[], Any]) -> Any:
    end = time.monotonic() + _PATIENCE
    while not (found := there()):
        assert time.monotonic() < end
        time.sleep(0.2)
    return found


@contextmanager
def started(folder: Path, api: str) -> Iterator[subprocess.Popen[str]]:
    """Start the program, and leave nothing of it."""
    with subprocess.Popen(
        [sys.executable, "patient.py"],
        cwd=folder,
        env={**os.environ, "PREFECT_API_URL": api, "PREFECT_RUNNER_POLL_FREQUENCY": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=as_on_a_terminal,  # noqa: PLW1509 -- no thread runs in a test
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def mortal_server(port: int) -> Iterator[Callable[[], None]]:
    """Start a Prefect server, and yield what kills it; else it is killed at the end."""
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(
        [sys.executable, "-m", "prefect", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:

        def kill() -> None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/api"))
            yield kill
        finally:
            kill()


def running(api: str) -> dict[str, Any]:
    """Begin a run of what is served, and return what finds it while it is running."""
    (deployment,) = until(lambda: ask(api, "deployments/filter"))
    run = ask(api, f"deployments/{deployment['id']}/create_flow_run")
    found = {"id": {"any_": [run["id"]]}, "state": {"type": {"any_": ["RUNNING"]}}}
    until(lambda: ask(api, "flow_runs/filter", flow_runs=found))
    return found


@pytest.fixture(autouse=True)
def own_prefect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep all of Prefect's in the test's own folder."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    (tmp_path / "patient.py").write_text(PROGRAM)


def terminate(serving: subprocess.Popen[str]) -> None:
    serving.send_signal(signal.SIGTERM)


def press_ctrl_c(serving: subprocess.Popen[str]) -> None:
    """Interrupt it and its runs, as a terminal does it."""
    os.killpg(serving.pid, signal.SIGINT)


@pytest.mark.timeout(_SECONDS)
@pytest.mark.parametrize("end", [terminate, press_ctrl_c])
def test_it_and_its_runs_end_in_good_order_which_the_server_knows_at_once(
    tmp_path: Path, end: Callable[[subprocess.Popen[str]], None]
):
    with own_server(ports.unused()) as api, started(tmp_path, api) as serving:
        (run,) = running(api)["id"]["any_"]
        until((tmp_path / "at-work").exists)
        end(serving)
        said, _ = serving.communicate(timeout=_PATIENCE)
        ended = ask(api, f"flow_runs/{run}", "GET")["state_type"]
    assert serving.returncode == 0
    assert ended == "CRASHED"
    assert (tmp_path / "in-good-order").exists()
    assert "at work" in said
    assert "never awaited" not in said
    if end is terminate:  # of Ctrl-C the run itself tells by a traceback, which is Prefect's
        assert "Traceback" not in said


@pytest.mark.timeout(_SECONDS)
def test_cancel_still_ends_a_run_whose_server_was_killed_and_came_back(tmp_path: Path):
    port = ports.unused()
    api = f"http://127.0.0.1:{port}/api"
    with ExitStack() as stack:
        kill = stack.enter_context(mortal_server(port))
        serving = stack.enter_context(started(tmp_path, api))
        found = running(api)
        kill()
        time.sleep(_AWAY_SECONDS)
        stack.enter_context(mortal_server(port))
        assert ask(api, "flow_runs/filter", flow_runs=found)
        (run,) = found["id"]["any_"]
        ask(api, f"flow_runs/{run}/set_state", state={"type": "CANCELLING"})
        until(lambda: ask(api, f"flow_runs/{run}", "GET")["state_type"] == "CANCELLED")
        serving.send_signal(signal.SIGTERM)
        said, _ = serving.communicate(timeout=_PATIENCE)
    assert serving.returncode == 0
    assert "the Prefect server is away" in said
    assert "the Prefect server is back" in said
    assert "CancellingObserver" not in said
    assert "never awaited" not in said
    # The run itself tells of the outage by tracebacks, which are Prefect's.
    _, cancelled, at_the_end = said.partition("Cancelled flow run")
    assert cancelled
    assert "Traceback" not in at_the_end


@pytest.mark.timeout(_SECONDS)
def test_a_server_that_has_gone_for_good_ends_it_with_an_error(tmp_path: Path):
    (tmp_path / "patient.py").write_text(PROGRAM.replace('"patient")]', '"patient")], patience=8'))
    port = ports.unused()
    with mortal_server(port) as kill, started(tmp_path, f"http://127.0.0.1:{port}/api") as serving:
        running(f"http://127.0.0.1:{port}/api")
        kill()
        said, _ = serving.communicate(timeout=_PATIENCE)
    assert serving.returncode
    assert "TimedOutError: the Prefect server http://127.0.0.1" in said
    assert "never awaited" not in said
