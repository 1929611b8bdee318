"""Asking an HTTP service again: how often, after how long, and when to stop."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from vllm_flows.sizes import human_seconds
from vllm_flows.waiting import Clock

Result = TypeVar("Result")

ATTEMPTS = 4
TOTAL_SECONDS = 90.0
"""No try begins later than this after the first: who asks for a longer wait is given up at once."""

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 8.0
_RATE_LIMIT = re.compile(r"r=0;\s*t=(\d+)")


class TryAgainError(Exception):
    """The service did not answer now; `after` are the seconds that it asked to wait.

    `status` is that of its HTTP answer, 0 when there was none.
    """

    def __init__(self, why: str, after: float | None = None, status: int = 0) -> None:
        super().__init__(why)
        self.why = why
        self.after = after
        self.status = status


def wait_seconds(tries: int, after: float | None, chance: float) -> float:
    """Return how long to wait after so many tries.

    What the service asked for is never cut short; else the wait doubles. `chance` (0 to 1) spreads
    those who were turned away together.
    """
    if after is not None:
        return after + chance
    backoff = min(_FIRST_WAIT_SECONDS * 2.0 ** (tries - 1), _LONGEST_BACKOFF_SECONDS)
    return backoff * (0.5 + chance / 2)


def asked_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds that an answer's headers ask to wait, None when they ask for none.

    `Retry-After` is seconds or an HTTP date (RFC 9110, 10.2.3); an exhausted `RateLimit` says the
    seconds until its window ends (draft-ietf-httpapi-ratelimit-headers-09).
    """
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    text = lower.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        exhausted = _RATE_LIMIT.search(lower.get("ratelimit", ""))
        return float(exhausted[1]) if exhausted else None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def patiently(ask: Callable[[], Result], clock: Clock, attempts: int = ATTEMPTS) -> Result:
    """Ask until there is an answer. Raises the last TryAgainError when tries or time are used up.

    Any other error ends it at once.
    """
    begin = clock.now()
    tries = 0
    while True:
        try:
            return ask()
        except TryAgainError as error:
            tries += 1
            wait = wait_seconds(tries, error.after, random.random())  # noqa: S311 -- no secret
            if tries >= attempts or clock.now() + wait - begin > TOTAL_SECONDS:
                raise
        clock.sleep(wait)


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return what the call returns, or raise what it raises. Raises TryAgainError out of time.

    The time limits of a socket bound the wait for the next byte; a service that drips keeps them
    for ever. A call that is out of time is left to itself: no thread can be ended from outside,
    but this one keeps no process from ending.
    """
    answer = begun(call)
    wait([answer], seconds)
    if not answer.done():
        raise TryAgainError(f"no complete answer within {human_seconds(seconds)}")
    return answer.result()


def begun(call: Callable[[], Result]) -> Future[Result]:
    """Begin the call in a thread that keeps no process from ending; return what it will answer."""
    answer: Future[Result] = Future()
    threading.Thread(target=_hand_over, args=(call, answer), daemon=True).start()
    return answer


def _hand_over(call: Callable[[], Result], answer: Future[Result]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:  # noqa: BLE001 -- whoever asked gets it raised, whatever it is
        answer.set_exception(error)
