"""A command on a pseudo-terminal, as a person runs it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

CTRL_C = "\x03"
_PATIENCE = 120


class Place(Protocol):
    """Where commands run, and with which environment."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """The environment of the commands."""
        ...


def _take_terminal() -> None:
    # A shell's background, where the tests may run, has Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@dataclass
class Terminal:
    """A command on a terminal of its own; `seen` is what the screen showed so far."""

    process: subprocess.Popen[bytes]
    descriptor: int
    seen: str = ""

    def read_until(self, text: str) -> None:
        """Read what the command shows until the text is there."""
        begin = len(self.seen)
        while text not in self.seen[begin:]:
            came, _, _ = select.select([self.descriptor], [], [], _PATIENCE)
            assert came, f"no {text!r} in {self.seen}"
            self.seen += os.read(self.descriptor, 65536).decode()

    def answer(self, question: str, text: str) -> None:
        """Wait for a question and type the answer."""
        self.read_until(question)
        os.write(self.descriptor, text.encode())

    def ended(self) -> int:
        """Read to the end; return the exit code."""
        try:
            while chunk := os.read(self.descriptor, 65536):
                self.seen += chunk.decode()
        except OSError:  # how Linux says that the other side is closed
            pass
        return self.process.wait(_PATIENCE)


@contextmanager
def terminal(place: Place, *arguments: str) -> Iterator[Terminal]:
    """Start a command as a person at a terminal does."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("vllm-flows"), *arguments],
        cwd=place.folder,
        env=place.environ | {"TERM": "dumb", "NO_COLOR": "1"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509 -- no thread runs in a test
    )
    os.close(its)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def on_terminal(place: Place, typed: str, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal and type this at once; return exit code and what was shown."""
    with terminal(place, *arguments) as shown:
        os.write(shown.descriptor, typed.encode())
        return shown.ended(), shown.seen
