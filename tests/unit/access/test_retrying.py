from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from vllm_flows.retrying import (
    ATTEMPTS,
    TOTAL_SECONDS,
    TryAgainError,
    asked_wait,
    patiently,
    wait_seconds,
    within,
)

if TYPE_CHECKING:
    from conftest import ToldHub

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tries", "shortest", "longest"), [(1, 0.5, 1), (2, 1, 2), (3, 2, 4), (4, 4, 8), (9, 4, 8)]
)
def test_the_wait_doubles_up_to_an_end_and_is_spread(tries: int, shortest: float, longest: float):
    assert wait_seconds(tries, None, 0.0) == shortest
    assert wait_seconds(tries, None, 1.0) == longest


@pytest.mark.parametrize("after", [0, 17, 60, 86_400])
def test_a_wait_that_is_asked_for_is_kept(after: float):
    assert wait_seconds(1, after, 0.0) == after
    assert wait_seconds(1, after, 1.0) == after + 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "17"}, 17),
        ({"retry-after": " 0 "}, 0),
        ({"Retry-After": "Mon, 05 Jan 2026 09:00:30 GMT"}, 30),
        ({"Retry-After": "Mon, 05 Jan 2026 09:00:30 -0000"}, 30),
        ({"Retry-After": "Mon, 05 Jan 2026 08:00:00 GMT"}, 0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "Mon, 05 Jan 2026 09:00:30 +99999999999999999999"}, None),
        ({"Retry-After": "Mon, 99 Jan 2026 09:00:30 GMT"}, None),
        ({"RateLimit": '"api";r=0;t=55'}, 55),
        ({"RateLimit": '"api";r=12;t=55'}, None),
        ({"RateLimit": '"api";r=0;t=55', "Retry-After": "3"}, 3),
    ],
)
def test_what_the_headers_ask_for_is_understood(headers: dict[str, str], seconds: float | None):
    assert asked_wait(headers, NOW) == seconds


def failing(after: float | None = None) -> None:
    raise TryAgainError("busy", after)


def test_it_ends_after_some_tries(told: ToldHub):
    with pytest.raises(TryAgainError, match="busy"):
        patiently(failing, told.clock)
    assert len(told.clock.slept) == ATTEMPTS - 1


def test_it_ends_before_waits_add_up_to_minutes(told: ToldHub):
    with pytest.raises(TryAgainError):
        patiently(lambda: failing(40), told.clock)
    assert len(told.clock.slept) == 2
    assert sum(told.clock.slept) <= TOTAL_SECONDS


@pytest.mark.parametrize("after", [TOTAL_SECONDS + 1, 300, 86_400])
def test_who_asks_for_a_longer_wait_than_there_is_time_is_not_asked_again(
    told: ToldHub, after: float
):
    with pytest.raises(TryAgainError):
        patiently(lambda: failing(after), told.clock)
    assert told.clock.slept == []


def test_any_other_error_ends_it_at_once(told: ToldHub):
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 // 0, told.clock)
    assert told.clock.slept == []


def test_a_call_in_time_returns_or_raises_what_it_would_anyway():
    assert within(60, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(60, lambda: 1 // 0)


def test_a_call_out_of_time_is_left_to_itself_and_worth_another_try():
    over = threading.Event()
    with pytest.raises(TryAgainError, match=r"no complete answer within 0\.01 s"):
        within(0.01, over.wait)
    over.set()
