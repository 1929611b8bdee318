"""A failed container waits as long as a kubelet would let it."""

from __future__ import annotations

import pytest

from sandbox.agent.backoff import Backoff, text


def test_waits_double_up_to_five_minutes_after_a_first_restart_at_once() -> None:
    backoff = Backoff(base=10.0)
    waits = [backoff.next(ran_seconds=1.0) for _ in range(8)]
    assert waits == [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]


def test_a_container_that_ran_long_starts_over() -> None:
    backoff = Backoff(base=10.0, failures=5)
    assert backoff.next(ran_seconds=601.0) == 0.0


def test_many_failures_do_not_overflow() -> None:
    assert Backoff(base=10.0, failures=10_000).next(1.0) == 300.0


@pytest.mark.parametrize(("seconds", "expected"), [(10, "10s"), (80, "1m20s"), (300, "5m0s")])
def test_seconds_are_written_as_go_does(seconds: float, expected: str) -> None:
    assert text(seconds) == expected
