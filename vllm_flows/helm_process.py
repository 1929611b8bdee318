"""A helm that runs: how long it is waited for, and the login program that it may wait for."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vllm_flows import exec_plugin
from vllm_flows.children import end
from vllm_flows.errors import ReleaseError, ReleaseUnavailableError
from vllm_flows.kubeconfig import login_program

_END_SECONDS = 10
_ASKS_NO_CLUSTER = {"version", "show", "template"}
_PROC = Path("/proc")


@dataclass(frozen=True)
class Run:
    """One helm, in a session of its own. `errors` has what it says on stderr."""

    process: subprocess.Popen[bytes]
    verb: str
    context: str
    errors: IO[bytes]
    writes: bool = False

    def code(self, seconds: int) -> int:
        """Return its exit code.

        Raises ReleaseError when it does not end in time, and is ended then, or when the login
        program does not: ReleaseUnavailableError where a retry can help. Interrupted, one that
        writes is brought to its end, and one that reads is ended.
        """
        try:
            code = self._waited(seconds)
        except BaseException:
            if self.writes:
                self._finish(seconds)
            end(self.process, _END_SECONDS)
            raise
        if code is None:
            stuck = self._is_stuck(unknown=True)
            end(self.process, _END_SECONDS)
            raise self._login_hangs(seconds) if stuck else self._too_long(seconds)
        return code

    def _waited(self, seconds: int) -> int | None:
        """Wait; a login program that hangs is waited for no longer than any."""
        first = min(float(seconds), exec_plugin.SECONDS)
        code = exec_plugin.ended(self.process, first, self._login_program, "helm, or for")
        if code is not None or first >= seconds or self._is_stuck(unknown=False):
            return code
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(seconds - first)
        return None

    def _finish(self, seconds: int) -> None:
        """Let one that writes finish; who still waits for a login has written nothing."""
        begin = time.monotonic()
        soon = min(exec_plugin.SOON_SECONDS, seconds)
        if not self._ends_by(begin + soon) and not self._is_stuck(unknown=False):
            self._ends_by(begin + seconds)

    def _ends_by(self, last: float) -> bool:
        """Wait for its end, whatever else interrupts: SIGTERM after Ctrl-C, and a timer's end.

        Who presses Ctrl-C twice ends this process with it, and raises nothing here.
        """
        while (left := last - time.monotonic()) > 0 and self.process.poll() is None:
            with suppress(BaseException):  # the first interruption is raised once it has ended
                self.process.wait(left)
        return self.process.poll() is not None

    def _login_program(self) -> str:
        return "" if self.verb in _ASKS_NO_CLUSTER else login_program(self.context)

    def _is_stuck(self, *, unknown: bool) -> bool:
        """Say whether it waits for a login program, which is all that it ever starts.

        `unknown` is the answer where the machine does not tell.
        """
        if not self._login_program():
            return False
        found = list(_PROC.glob(f"{self.process.pid}/task/*/children"))
        with suppress(OSError):
            return any(one.read_text().strip() for one in found) if found else unknown
        return unknown

    def _login_hangs(self, seconds: int) -> ReleaseError:
        lasted = min(float(seconds), exec_plugin.SECONDS)
        said = exec_plugin.not_ended(self._login_program(), lasted, self.errors)
        return ReleaseError(said.what, why=said.why, next_command=said.next_command)

    def _too_long(self, seconds: int) -> ReleaseError:
        kind = ReleaseError if self.writes else ReleaseUnavailableError
        local = self.verb in _ASKS_NO_CLUSTER
        return kind(
            f"helm failed: {self.verb}: no end after {seconds} s",
            why="where the chart comes from may be silent" if local else "the API may be silent",
            next_command="vllm-flows doctor" if local else "kubectl cluster-info",
        )
