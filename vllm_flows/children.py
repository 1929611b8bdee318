"""The programs that we start, each in a session of its own, and their end with ours.

Neither Ctrl-C nor SIGTERM reaches them there, so that a helm that writes can be brought to its end.
So whoever ends this process ends them first: a login program may wait for somebody for ever.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO

_LAST_SECONDS = 1.0
_POLL_SECONDS = 0.01
_running: dict[subprocess.Popen[bytes], bool] = {}
"""What was started and not seen to end, and whether it writes."""


@contextmanager
def started(
    command: Sequence[str],
    environ: Mapping[str, str],
    output: IO[bytes],
    errors: IO[bytes],
    given: IO[bytes] | int = subprocess.DEVNULL,
    inherited: Sequence[int] = (),
    *,
    writes: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program for the block; where it still runs then it is ended, with all it started.

    Files take what it prints, not pipes: a child of it that lives on would keep these open.
    """
    process = subprocess.Popen(
        command,
        env=environ,
        stdin=given,
        stdout=output,
        stderr=errors,
        start_new_session=True,
        pass_fds=inherited,
    )
    try:
        _running[process] = writes
        yield process
    finally:
        end(process, _LAST_SECONDS)
        _running.pop(process, None)  # who is interrupted before leaves it to `end_all`


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a program and what it started: kindly, and after so many seconds at once."""
    if process.poll() is not None:
        return
    try:
        _send(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
    finally:  # also when this is interrupted
        _send(process, signal.SIGKILL)  # also to what it started, which may be deaf to the other
        process.wait()


def is_writing() -> bool:
    """Say whether a program is at work that writes."""
    return any(writes and one.poll() is None for one, writes in tuple(_running.items()))


def end_all(seconds: float = _LAST_SECONDS) -> None:
    """End all that runs, also what writes: kindly, and after so many seconds at once.

    For the last moment of this process, whatever its threads do: a signal's answer may call it.
    The number of one that has ended may be another's by now.
    """
    last = time.monotonic() + seconds
    found = _at_work()
    for process in found:
        _send(process, signal.SIGTERM)
    while _at_work() and time.monotonic() < last:
        time.sleep(_POLL_SECONDS)
    for process in {*found, *_at_work()}:
        _send(process, signal.SIGKILL)


def _at_work() -> list[subprocess.Popen[bytes]]:
    return [one for one in tuple(_running) if one.poll() is None]


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses where all have ended
        os.killpg(process.pid, number)


atexit.register(end_all)
