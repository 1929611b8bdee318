"""Sending a file or a part of it, no faster than told."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Callable

from sandbox.hub.access import RefusedError
from sandbox.hub.repository import Commit, File

_CHUNK = 64 * 1024
_CHUNKS_PER_SECOND = 20
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return first and last byte of a Range header, None when there is none.

    Raises RefusedError (416) for a range outside the file or in another notation.
    """
    if not header:
        return None
    match = _RANGE.fullmatch(header)
    if not match or match.groups() == ("", ""):
        raise RefusedError(416, "Range not satisfiable")
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size - 1
    start, end = int(first), min(int(last or size - 1), size - 1)
    if start > end:
        raise RefusedError(416, "Range not satisfiable")
    return start, end


def headers_of(commit: Commit, file: File, part: tuple[int, int] | None) -> dict[str, str]:
    """Return the headers from which the client learns hash, size and commit of a file."""
    start, end = part or (0, file.size - 1)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Length": str(end - start + 1),
        "Content-Disposition": f'inline; filename="{file.path}";',
        "ETag": f'"{file.etag}"',
        "X-Repo-Commit": commit.sha,
    }
    if part:
        headers["Content-Range"] = f"bytes {start}-{end}/{file.size}"
    if file.sha256:
        headers["X-Linked-ETag"] = f'"{file.sha256}"'
        headers["X-Linked-Size"] = str(file.size)
    return headers


async def send(
    file: File,
    part: tuple[int, int] | None,
    rate: Callable[[], int | None],
    sent: Callable[[int], None],
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes; `rate` is asked before every chunk and counts bytes per second.

    `sent` is told the size of each chunk that the server took.
    """
    start, end = part or (0, file.size - 1)
    left = end - start + 1
    with file.location.open("rb") as source:
        source.seek(start)
        while left > 0:
            begun = time.monotonic()
            limit = rate()
            size = min(left, _CHUNK, max(1, limit // _CHUNKS_PER_SECOND) if limit else _CHUNK)
            chunk = source.read(size)
            yield chunk
            sent(len(chunk))
            left -= len(chunk)
            if limit:
                await asyncio.sleep(max(0.0, begun + size / limit - time.monotonic()))
