"""A run waits for an API server that is away for a minute, and then goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from sandbox import processes
from sandbox.state import SandboxState

if TYPE_CHECKING:
    from conftest import Product

QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
SILENT_SECONDS = 60.0
_AWAY_SECONDS = 15.0
_SLOW = 700_000
"""Bytes per second of a Hub that leaves the time to do something while weights are fetched."""


@dataclass(frozen=True)
class Component:
    """A process of the sandbox's control plane, as it was started."""

    sandbox: SandboxState
    name: str
    command: list[str]
    environ: dict[str, str]
    folder: str

    @classmethod
    def of(cls, sandbox: SandboxState, name: str) -> Component:
        found = psutil.Process(processes.process_ids(sandbox)[name])
        assert processes.carries_marker(found.pid, sandbox.directory)
        return cls(sandbox, name, found.cmdline(), found.environ(), found.cwd())

    @property
    def pid(self) -> int:
        return processes.process_ids(self.sandbox)[self.name]

    def start(self) -> None:
        """Start it again, known by its process id as before."""
        with Path(self.folder, "logs", f"{self.name}.log").open("ab") as log:
            process = subprocess.Popen(
                self.command,
                env=self.environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        processes._started.append(process)  # noqa: SLF001 -- ended with the sandbox, by its marker
        (file,) = self.sandbox.kwok.glob(f"clusters/*/pids/{self.name}.pid")
        file.write_text(f"{process.pid}\n")


@contextmanager
def without_api(sandbox: SandboxState, *, refused: bool) -> Iterator[None]:
    """Let the API server be gone (connections are refused) or hang while the block runs."""
    server = Component.of(sandbox, "kube-apiserver")
    os.kill(server.pid, signal.SIGKILL if refused else signal.SIGSTOP)
    try:
        yield
    finally:
        if refused:
            server.start()
        else:
            os.kill(server.pid, signal.SIGCONT)
        for name in ("controller-manager", "scheduler"):
            assert processes.is_running(sandbox, f"kube-{name}")


@pytest.mark.parametrize("refused", [True, False], ids=["gone", "hanging"])
def test_time_in_which_the_api_server_is_away_is_not_taken_for_silence_of_the_model(
    product: Product, *, refused: bool
):
    """There is room for both: the old replica serves on all the time."""
    product.install(QWEN)
    product.models(QWEN + "  vllmConfig: {maxModelLen: 1024}\n")
    with product.watched("upgrade") as run:
        run.until_step("readiness")
        with without_api(product.sandbox, refused=refused):
            time.sleep(_AWAY_SECONDS)
        assert run.ended() == 0, run.said
        assert run.process.stdout
        table = run.process.stdout.read()
    found = re.search(r"(([\d.]+) s|never); not measured for (?P<not_measured>\d+) s", table)
    assert found, table
    assert float(found[2] or 0) < _AWAY_SECONDS / 2
    assert float(found["not_measured"]) >= _AWAY_SECONDS - 1


@pytest.mark.parametrize(
    ("step", "refused"), [("weights", False), ("helm", True)], ids=["weights-hanging", "helm-gone"]
)
def test_a_run_waits_for_an_api_server_that_is_away_for_a_minute(
    product: Product, step: str, *, refused: bool
):
    product.models(QWEN)
    if step == "weights":
        product.hub("rate", bytes_per_second=_SLOW)
    with product.watched() as run:
        run.until_step(step)
        with without_api(product.sandbox, refused=refused):
            time.sleep(SILENT_SECONDS)
        product.hub("rate", bytes_per_second=None)
        assert run.ended() == 0, run.said
    assert "not answer" in run.said or "helm failed" in run.said
    assert "qwen3: answered in" in run.said
    product.assert_settled()
