"""Ctrl-C and SIGTERM: what they do to a verb, and to a flow that it runs."""

from __future__ import annotations

import os
import signal
from types import FrameType

from vllm_flows.children import end_all

INTERRUPTED = 130
"""The exit code of an interrupted command."""
_STDERR = 2
_FIRST = "\ninterrupted: what is at work is brought to its end; Ctrl-C again ends at once\n"
_SECOND = (
    "\nended at once, and helm with it; weights Jobs and pods that were started go on; next: the "
    "same command again; it takes over the lock, unlocks what helm left and goes on from there\n"
)


def answer_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does, and what it started with it.

    What the caller ignores stays ignored.
    """
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; within a flow Prefect answers first, and sends the signal again."""
    del number, frame
    raise KeyboardInterrupt


class Interruptions:
    """Ctrl-C while a flow runs: the first ends it in good order, another one at once."""

    def __init__(self) -> None:
        self._interrupted = False

    def arm(self) -> None:
        """Answer Ctrl-C from now on to the end of the process, unless the caller ignores it."""
        if signal.getsignal(signal.SIGINT) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(signal.SIGINT, self.interrupt)

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt the first time; end the process the second time.

        The process may be anywhere, also in its last moments: only the plainest calls are made.
        """
        del number, frame
        if self._interrupted:
            os.write(_STDERR, _SECOND.encode())
            end_all()
            os._exit(INTERRUPTED)
        self._interrupted = True
        os.write(_STDERR, _FIRST.encode())
        raise KeyboardInterrupt
