"""What can be made wrong with a download, on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, get_args

FaultKind = Literal["truncate", "short", "corrupt", "ignore-range", "rate-limit", "stall"]

KINDS: tuple[str, ...] = get_args(FaultKind)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one download whose path holds `path`.

    truncate: the connection closes after the share `after` of what Content-Length promises.
    short: a clean answer with that share, and a Content-Length that says so.
    corrupt: the byte at that share is another one.
    stall: nothing comes after that share, for ever.
    ignore-range: the whole file with status 200, whatever range was asked for.
    rate-limit: status 429 with `retry_after` (seconds or a date) as Retry-After.
    """

    kind: FaultKind
    path: str = ""
    after: float = 0.5
    retry_after: str = "1"


def shorten(fault: Fault | None, headers: MutableMapping[str, str]) -> None:
    """Have the headers of a `short` answer tell its length."""
    if fault and fault.kind == "short":
        headers["Content-Length"] = str(int(int(headers["Content-Length"]) * fault.after))


async def spoiled(
    fault: Fault, body: AsyncGenerator[bytes, None], length: int
) -> AsyncGenerator[bytes, None]:
    """Yield a body of `length` bytes as the fault leaves it."""
    limit, sent = int(length * fault.after), 0
    async with aclosing(body):
        async for chunk in body:
            left, sent = limit - sent, sent + len(chunk)
            if not 0 <= left < len(chunk):
                yield chunk
            elif fault.kind == "corrupt":
                yield chunk[:left] + bytes([chunk[left] ^ 1]) + chunk[left + 1 :]
            elif fault.kind in {"truncate", "short", "stall"}:
                yield chunk[:left]
                break
            else:
                yield chunk
    if fault.kind == "stall":
        await asyncio.Event().wait()  # until the client leaves
