"""How many models are asked at the same time, so that who asks is no reason for a slow answer.

One that keeps quiet is waited for by its own thread alone: after some seconds it no longer counts,
and the next one is asked beside it. However many are silent, the others are not held up. How many
that are is found out as TCP does it: more while all goes well, half as many when connections break.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_AGAIN_SECONDS = 0.05


_FEWEST, _MOST = 8, 48


class Lanes:
    """For many threads, `most` to begin with; `now` is a clock's that only goes forward.

    Who is silent for longer than `patience` seconds no longer counts.
    """

    def __init__(
        self, most: int, patience: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._most, self._patience, self._now = most, patience, now
        self._news = threading.Condition()
        self._begun: dict[int, float] = {}
        self._numbers = 0

    @contextmanager
    def lane(self, most: int | None = None) -> Iterator[float]:
        """Wait until fewer than `most` others count (else as many as all share), then go.

        Yields the seconds that were waited.
        """
        begin = self._now()
        with self._news:
            while self._counting() >= (self._most if most is None else most):
                self._news.wait(_LOOK_AGAIN_SECONDS)
            self._numbers += 1
            number = self._numbers
            self._begun[number] = self._now()
        try:
            yield self._begun[number] - begin
        finally:
            with self._news:
                del self._begun[number]
                self._news.notify_all()

    @property
    def most(self) -> int:
        """How many are asked at the same time now."""
        return self._most

    def widen(self) -> None:
        """Note that an answer came: one more may be asked at the same time."""
        with self._news:
            self._most = max(self._most, min(self._most + 1, _MOST))

    def narrow(self) -> None:
        """Note that a connection broke: half as many are asked from now on."""
        with self._news:
            self._most = min(self._most, max(self._most // 2, _FEWEST))

    def _counting(self) -> int:
        now = self._now()
        return sum(now - begin < self._patience for begin in self._begun.values())
