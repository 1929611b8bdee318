"""Containers as local processes, each in a session of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from sandbox.agent.output import Pump

POD_VARIABLE = "VLLM_SANDBOX_POD"
"""Every process of a pod carries this variable: the pod's directory."""

_DRAIN_SECONDS = 1.0
_POLL_SECONDS = 0.02


class Process:
    """One run of a container. `exit_code` is None while it runs, 128 + N after signal N."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        ended: Callable[[], None],
    ) -> None:
        """Start it; `ended` is called, from another thread, when it is over.

        Raises OSError when the program is not there or cannot be run.
        """
        self.log = log
        self.exit_code: int | None = None
        self._ended = ended
        self._popen = subprocess.Popen(
            list(arguments),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._popen.stdout  # noqa: S101 -- a pipe was asked for
        assert self._popen.stderr  # noqa: S101 -- likewise
        self._pump = Pump(log, {"stdout": self._popen.stdout, "stderr": self._popen.stderr})
        self._pump.start()
        threading.Thread(target=self._await_end, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process id, which is its group's too."""
        return self._popen.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process and all it started."""
        if self.exit_code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def resident_bytes(self) -> int:
        """Return the memory that the process itself uses, 0 when it is over."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def _await_end(self) -> None:
        # The process is only reaped after its group was killed: until then the id is its own.
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._popen.wait()
        self._pump.join(_DRAIN_SECONDS)
        self.exit_code = 128 - code if code < 0 else code
        self._ended()


def stop(
    processes: Sequence[Process], seconds: float, hurry: Callable[[], bool] | None = None
) -> None:
    """Send SIGTERM, wait at most so long or until `hurry` says so, then send SIGKILL."""
    for process in processes:
        process.send(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while any(each.exit_code is None for each in processes):
        if time.monotonic() >= deadline or (hurry and hurry()):
            break
        time.sleep(_POLL_SECONDS)
    for process in processes:
        process.send(signal.SIGKILL)
    while any(each.exit_code is None for each in processes):
        time.sleep(_POLL_SECONDS)


def end_leftovers(pods: Path, seconds: float = 2.0) -> int:
    """End the containers that an earlier agent left below this folder; return how many.

    They are told by the variable that every container carries.
    """
    left = [each for each in psutil.process_iter() if _belongs(each, f"{pods}{os.sep}")]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(left, timeout=seconds)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=seconds)
    return len(left)


def _belongs(process: psutil.Process, prefix: str) -> bool:
    try:
        return process.environ().get(POD_VARIABLE, "").startswith(prefix)
    except psutil.Error:
        return False
