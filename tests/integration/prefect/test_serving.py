"""What serves the flows ends quietly, also while a run is at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.prefect_server import own_server
from sandbox import ports
from tests.prefect_api import ask

_SECONDS = 240
_PATIENCE = 60.0
PROGRAM = """
import time
from prefect import flow
from cli.serving import serve_until_ended

@flow
def patient():
    time.sleep(300)

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
        env={**os.environ, "PREFECT_API_URL": api},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(_SECONDS)
def test_sigterm_ends_it_without_a_traceback_while_a_run_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    (tmp_path / "patient.py").write_text(PROGRAM)

    with own_server(ports.unused()) as api, started(tmp_path, api) as serving:
        (deployment,) = until(lambda: ask(api, "deployments/filter"))
        run = ask(api, f"deployments/{deployment['id']}/create_flow_run")
        running = {"id": {"any_": [run["id"]]}, "state": {"type": {"any_": ["RUNNING"]}}}
        until(lambda: ask(api, "flow_runs/filter", flow_runs=running))
        serving.send_signal(signal.SIGTERM)
        said, _ = serving.communicate(timeout=_PATIENCE)
    assert serving.returncode == 0
    assert "Beginning flow run" in said
    assert "Traceback" not in said
    assert "never awaited" not in said
