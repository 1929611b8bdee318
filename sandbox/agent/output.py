"""A container's output as a log file in the container runtime interface's format."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO

_LONGEST_LINE = 16 * 1024


def cri_line(stream: str, text: bytes, moment: datetime, *, partial: bool = False) -> bytes:
    """Return one line of the log; `partial` when the container's line goes on in the next."""
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"
    return f"{stamp} {stream} {'P' if partial else 'F'} ".encode() + text + b"\n"


class Lines:
    """Cuts the bytes of one stream into lines of the log."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._rest = b""

    def take(self, data: bytes, moment: datetime) -> bytes:
        """Return what to write for these bytes; none means that the stream ended."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        text = b"".join(cri_line(self._stream, line, moment) for line in lines)
        if self._rest and (not data or len(self._rest) >= _LONGEST_LINE):
            text += cri_line(self._stream, self._rest, moment, partial=bool(data))
            self._rest = b""
        return text


class Pump(threading.Thread):
    """Moves the output of a process to its log until every stream ended."""

    def __init__(self, log: Path, streams: Mapping[str, IO[bytes]]) -> None:
        super().__init__(daemon=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log: BinaryIO = log.open("wb")
        self._streams = {pipe.fileno(): (pipe, Lines(name)) for name, pipe in streams.items()}

    def run(self) -> None:
        """Read and write until all streams are closed."""
        with self._log, selectors.DefaultSelector() as selector:
            for descriptor in self._streams:
                selector.register(descriptor, selectors.EVENT_READ)
            while self._streams:
                for key, _ in selector.select():
                    self._move(selector, key.fd)
                self._log.flush()

    def _move(self, selector: selectors.BaseSelector, descriptor: int) -> None:
        pipe, lines = self._streams[descriptor]
        data = os.read(descriptor, _LONGEST_LINE)
        self._log.write(lines.take(data, datetime.now(UTC)))
        if not data:
            selector.unregister(descriptor)
            del self._streams[descriptor]
            pipe.close()


def tail(log: Path, lines: int = 80, limit: int = 2048) -> str:
    """Return the end of a log without the format's columns, as termination messages show it."""
    if not log.exists():
        return ""
    texts = [
        line.split(b" ", 3)[-1] for line in log.read_bytes().splitlines()[-lines:] if line.strip()
    ]
    return b"\n".join(texts)[-limit:].decode(errors="replace")


def link_log(log: Path) -> None:
    """Let `current.log` name this log, `NUMBER.log`, and `previous.log` the one before it."""
    number = int(log.stem)
    for name, target in (("current", number), ("previous", number - 1)):
        link = log.with_name(f"{name}.log")
        link.unlink(missing_ok=True)
        if target >= 0:
            link.symlink_to(f"{target}.log")
