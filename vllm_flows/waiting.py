"""Waiting with an end: ask, say what changed, sleep, until done or out of time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from vllm_flows.errors import StoppedError, VllmFlowsError
from vllm_flows.sizes import human_seconds

Result = TypeVar("Result")

REMIND_SECONDS = 8.0


class Clock(Protocol):
    """Where the time comes from; tests bring their own and sleep for nothing."""

    def now(self) -> float:
        """Return seconds on a clock that only goes forward."""

    def sleep(self, seconds: float) -> None:
        """Let that much time pass."""


class StoppableClock:
    """The machine's own clock, for many threads; `stop` ends every sleep, now and later."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def now(self) -> float:
        """Return the monotonic clock's seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let that much time pass; raises StoppedError once somebody stopped the clock."""
        if self._stopped.wait(seconds):
            raise StoppedError("the run was interrupted")

    def stop(self) -> None:
        """Wake everybody who sleeps: an interrupted run leaves no thread waiting."""
        self._stopped.set()


@dataclass(frozen=True)
class Pending:
    """Not done yet, and what for; said to whoever watches when it changes."""

    text: str


def _asked(ask: Callable[[], Result | Pending]) -> Result | Pending:
    """Take an answer that may come a moment later for one that is still pending."""
    try:
        return ask()
    except VllmFlowsError as error:
        if error.retryable:
            return Pending(f"{error.what} ({error.why})" if error.why else error.what)
        raise


def wait_for(
    ask: Callable[[], Result | Pending],
    *,
    seconds: float,
    every: float,
    say: Callable[[str], None],
    out_of_time: Callable[[str], Exception],
    clock: Clock,
    remind: float = REMIND_SECONDS,
) -> Result:
    """Ask until the answer is no `Pending`, and return it.

    A new text is said at once, an unchanged one again every `remind` seconds, an empty one not. The
    first question that is put after `seconds` is the last, however long those before it took: then
    raises what `out_of_time` makes of the last text. What `ask` raises ends the wait, unless the
    error itself says that another try can help.
    """
    begin = clock.now()
    said, said_at = "", begin
    while True:
        asked_at = clock.now()
        answer = _asked(ask)
        if not isinstance(answer, Pending):
            return answer
        now = clock.now()
        if answer.text and answer.text != said:
            said, said_at = answer.text, now
            say(said)
        elif said and now - said_at >= remind:
            said_at = now
            say(f"{said} (for {human_seconds(now - begin)})")
        if asked_at - begin >= seconds:
            raise out_of_time(said)
        clock.sleep(every)
