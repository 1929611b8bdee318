"""A lock between processes of one machine, held through an open file."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.progress import Report

_POLL_SECONDS = 0.2


@contextmanager
def held(path: Path, waiting_for: str, report: Report) -> Iterator[None]:
    """Hold the lock at `path`; while another process holds it, say so once and wait.

    The operating system frees the lock of a process that dies. The file is removed at the
    end, so nothing is left of a lock that nobody holds.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = False
    while (descriptor := _try(path)) is None:
        if not told:
            report(f"waiting: another process is {waiting_for}")
            told = True
        time.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _try(path: Path) -> int | None:
    """Lock the file and return its descriptor; None when another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last holder may have removed the file meanwhile: then this lock is on nothing.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
