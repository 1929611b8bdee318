"""How fast a model answers, and whether that is far from what it was. Pure.

The best of several answers is compared with the best that was seen: a busy machine makes an answer
slower and never faster. The rate is that of the answer that was over first: tokens that come late
and together look fast. A model is slow by a factor and by a time that a person would notice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

_FACTOR = 3.0
_BUSY_FACTOR = 10.0
"""Where others are being answered too, they share the GPU."""
_NOTICED_SECONDS = 1.0
_NOTICED_TOKEN_SECONDS = 0.02
"""Of each token: 50 per second are faster than anybody reads."""


@dataclass(frozen=True)
class Speed:
    """Seconds to the first token, and tokens per second after it; None where not measured.

    `each` are the seconds that a token took on the whole, the wait for the first included.
    """

    first: float | None = None
    rate: float | None = None
    each: float | None = None


def best(speeds: Iterable[Speed]) -> Speed:
    """Return the earliest first token, and the rate of the answer that took least."""
    found = list(speeds)
    first = min((one.first for one in found if one.first is not None), default=None)
    rated = [one for one in found if one.rate is not None]
    if not rated:
        return Speed(first)
    quickest = min(rated, key=lambda one: inf if one.each is None else one.each)
    return Speed(first, quickest.rate, quickest.each)


def slow_start(before: Speed, now: Speed, *, busy: bool = False) -> bool:
    """Say whether the first token comes far later than before."""
    if before.first is None or now.first is None:
        return False
    later = now.first - before.first
    return later >= _NOTICED_SECONDS and now.first >= _factor(busy=busy) * before.first


def slow_tokens(before: Speed, now: Speed, *, busy: bool = False) -> bool:
    """Say whether tokens come far more slowly than before."""
    if not before.rate or not now.rate:
        return False
    longer = 1 / now.rate - 1 / before.rate
    return longer >= _NOTICED_TOKEN_SECONDS and now.rate * _factor(busy=busy) <= before.rate


def is_slow(before: Speed, now: Speed, *, busy: bool = False) -> bool:
    """Say whether either is so."""
    return slow_start(before, now, busy=busy) or slow_tokens(before, now, busy=busy)


def _factor(*, busy: bool) -> float:
    return _BUSY_FACTOR if busy else _FACTOR
