"""What serves the flows ends quietly, also while a run is at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.prefect_server import own_server
from sandbox import ports

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


@pytest.mark.timeout(_SECONDS)
def test_sigterm_ends_it_without_a_traceback_while_a_run_is_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    monkeypatch.setenv("DO_NOT_TRACK", "1")
    (tmp_path / "patient.py").write_text(PROGRAM)

    def asked(path: str, body: object) -> Any:
        return httpx.post(f"{api}/{path}", json=body, trust_env=False).json()

    with own_server(ports.unused()) as api:
        serving = subprocess.Popen(
            [sys.executable, "patient.py"],
            cwd=tmp_path,
            env={**os.environ, "PREFECT_API_URL": api},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        (deployment,) = until(lambda: asked("deployments/filter", {}))
        run = asked(f"deployments/{deployment['id']}/create_flow_run", {})
        running = {
            "flow_runs": {"id": {"any_": [run["id"]]}, "state": {"type": {"any_": ["RUNNING"]}}}
        }
        until(lambda: asked("flow_runs/filter", running))
        serving.send_signal(signal.SIGTERM)
        said, _ = serving.communicate(timeout=_PATIENCE)
    assert serving.returncode == 0
    assert "Beginning flow run" in said
    assert "Traceback" not in said
    assert "never awaited" not in said
