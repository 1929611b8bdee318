"""Output that goes on for long: a pipe that closes ends it, and so does Ctrl-C, both quietly."""

from __future__ import annotations

import errno
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cli.interrupting import INTERRUPTED
from cli.output import note


@contextmanager
def until_interrupted() -> Iterator[None]:
    """End the process with 130 at Ctrl-C, which is how such a verb is meant to end."""
    try:
        yield
    except KeyboardInterrupt:
        note("")
        sys.exit(INTERRUPTED)


def check_reader() -> None:
    """Raise BrokenPipeError when nobody reads stdout any more."""
    watched = select.poll()
    watched.register(sys.stdout.fileno(), 0)
    if any(what & (select.POLLERR | select.POLLHUP) for _, what in watched.poll(0)):
        raise BrokenPipeError(errno.EPIPE, "nobody reads stdout")


def write_line(line: bytes) -> None:
    """Write a line as it is, at once."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
