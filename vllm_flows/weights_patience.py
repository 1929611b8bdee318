"""When to try a file again and when to give it up, and which connection is as good as silent.

Part of the program that runs in the engine image: it uses the standard library alone.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass

from vllm_flows.weights_blobs import Partial
from vllm_flows.weights_order import TemporaryError, UnfixableError

_NEWS = 1 << 20
"""New bytes that begin the count of failures anew."""
_TRIES = 8
"""Failures in a row, without another mebibyte between them, after which a file is given up."""
_SLOWEST = 1024
"""Bytes per second: what comes more slowly for as long as a stall may last counts as nothing."""
_LONGEST_WAIT = 60.0
_LONGEST_RETRY_AFTER = 300.0
"""Seconds. The Hub counts requests in windows of five minutes; who asks for longer is given up."""
_DAY = 86_400.0


class TransientError(Exception):
    """One request failed; `after` are the seconds to wait that the Hub asked for, if it did."""

    def __init__(self, text: str, after: float | None = None) -> None:
        super().__init__(text)
        self.after = after


@dataclass
class Patience:
    """How often, and how long apart, one file is tried; bytes that are new begin the count anew."""

    first: float
    sleep: Callable[[float], None]
    failures: int = 0
    best: int = 0

    def wait(self, error: TransientError, partial: Partial) -> None:
        """Sleep before the next try; raise TemporaryError or UnfixableError when there is none.

        The latter where the Hub wants longer peace than another attempt of the Job would give it.
        """
        if partial.position >= self.best + _NEWS:
            self.best, self.failures = partial.position, 0
        self.failures += 1
        words = f"{partial.file.name}: {error}"
        if self.failures >= _TRIES:
            raise TemporaryError(f"{words}, {_TRIES} times in a row")
        if error.after and error.after > _LONGEST_RETRY_AFTER:
            later = f"{min(error.after, _DAY) / 60:.0f} minutes"
            raise UnfixableError(f"{words}, to be asked again in {later}: run this again then")
        seconds = self.seconds(error.after)
        print(f"{words}; again in {seconds:.1f} s", file=sys.stderr)  # noqa: T201 -- the Job's log
        self.sleep(seconds)

    def seconds(self, after: float | None) -> float:
        """Return how long to wait: what the Hub asks for, else twice as long each time."""
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 -- it keeps files apart, no secret
        if after is not None:
            return max(after, 0.0) + jitter * self.first
        return jitter * min(self.first * 2.0 ** (self.failures - 1), _LONGEST_WAIT)


@dataclass
class Pace:
    """Whether enough comes in each span of `seconds`: a server that drips is never silent."""

    seconds: float
    clock: Callable[[], float]
    came: int = 0

    def __post_init__(self) -> None:
        self.since = self.clock()

    def count(self, size: int) -> None:
        """Take note of bytes that came; raise TransientError at the end of too slow a span."""
        self.came += size
        now = self.clock()
        if now - self.since < self.seconds:
            return
        if self.came < _SLOWEST * self.seconds:
            words = f"fewer than {_SLOWEST} bytes a second came for {self.seconds:g} s"
            raise TransientError(words)
        self.since, self.came = now, 0
