"""Ctrl-C and SIGTERM while a flow runs: the first ends it in good order, another Ctrl-C at once."""

from __future__ import annotations

import os
import signal
from types import FrameType

INTERRUPTED = 130
"""The exit code of an interrupted command."""
_STDERR = 2
_FIRST = "\ninterrupted: what is at work is brought to its end; Ctrl-C again ends at once\n"
_SECOND = (
    "\nended at once: helm, weights Jobs and pods that were started go on by themselves; next: the "
    "same command again; it takes over the lock and goes on from what is there\n"
)


class Interruptions:
    """What the signals that end a command do, from `arm` on to the end of the process."""

    def __init__(self) -> None:
        self._interrupted = False

    def arm(self) -> None:
        """Answer SIGINT and SIGTERM from now on; what the caller ignores stays ignored."""
        for number, answer in ((signal.SIGINT, self.interrupt), (signal.SIGTERM, self.terminate)):
            if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
                signal.signal(number, answer)

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt the first time; end the process the second time.

        The process may be anywhere, also in its last moments: only the plainest calls are made.
        """
        del number, frame
        if self._interrupted:
            os.write(_STDERR, _SECOND.encode())
            os._exit(INTERRUPTED)
        self._interrupted = True
        os.write(_STDERR, _FIRST.encode())
        raise KeyboardInterrupt

    def terminate(self, number: int, frame: FrameType | None) -> None:
        """End as the first Ctrl-C does; within a flow Prefect answers first, and sends it again."""
        del number, frame
        raise KeyboardInterrupt
