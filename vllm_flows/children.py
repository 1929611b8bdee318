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
_running: set[subprocess.Popen[bytes]] = set()


@contextmanager
def started(
    command: Sequence[str],
    environ: Mapping[str, str],
    output: IO[bytes],
    errors: IO[bytes],
    given: IO[bytes] | int = subprocess.DEVNULL,
    inherited: Sequence[int] = (),
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
    _running.add(process)
    try:
        yield process
    finally:
        end(process, _LAST_SECONDS)
        _running.discard(process)


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """End a program and what it started: kindly, and after so many seconds at once."""
    if process.poll() is not None:
        return
    _send(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    _send(process, signal.SIGKILL)  # also to what it started, which may be deaf to the other
    process.wait()


def end_all(seconds: float = _LAST_SECONDS) -> None:
    """End all that runs, also what writes: kindly, and after so many seconds at once.

    For the last moment of this process, whatever its threads do: a signal's answer may call it.
    """
    last = time.monotonic() + seconds
    for process in tuple(_running):
        _send(process, signal.SIGTERM)
    while any(one.poll() is None for one in tuple(_running)) and time.monotonic() < last:
        time.sleep(_POLL_SECONDS)
    for process in tuple(_running):
        _send(process, signal.SIGKILL)


def _send(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses where all have ended
        os.killpg(process.pid, number)


atexit.register(end_all)
