from __future__ import annotations

import pytest

from tests.support import VirtualClock
from vllm_flows.errors import ClusterUnavailableError, StoppedError, TimedOutError
from vllm_flows.waiting import Pending, StoppableClock, wait_for


def waited(answers: list[str | int], seconds: float = 100.0) -> tuple[int, list[str]]:
    said: list[str] = []
    left = iter(answers)

    def ask() -> int | Pending:
        answer = next(left)
        return Pending(answer) if isinstance(answer, str) else answer

    result = wait_for(
        ask,
        seconds=seconds,
        every=1.0,
        say=said.append,
        out_of_time=TimedOutError,
        clock=VirtualClock(),
    )
    return result, said


def test_each_change_is_said_once():
    assert waited(["a", "a", "b", "b", 7]) == (7, ["a", "b"])


def test_what_is_pending_without_a_word_is_not_spoken_of_and_hides_no_word():
    assert waited([""] * 20 + ["a", "", "a", 7]) == (7, ["a"])


def test_a_long_silence_is_broken_every_eight_seconds():
    assert waited(["a"] * 18 + [1])[1] == ["a", "a (for 8 s)", "a (for 16 s)"]


def test_the_wait_ends_with_the_last_text():
    with pytest.raises(TimedOutError, match="stuck"):
        waited(["stuck"] * 100, seconds=5)


def test_what_is_there_at_the_end_is_still_seen():
    assert waited(["a", "a", 3], seconds=2)[0] == 3


def test_what_took_all_the_time_to_answer_is_asked_once_more():
    clock = VirtualClock()

    def ask() -> int | Pending:
        if clock.now() < 150:
            clock.sleep(150)  # an API server that is away is waited for within one question
            return Pending("no answer")
        return 3

    said: list[str] = []
    found = wait_for(
        ask, seconds=120, every=1, say=said.append, out_of_time=TimedOutError, clock=clock
    )
    assert (found, clock.now()) == (3, 151)


def test_an_api_that_does_not_answer_for_a_moment_does_not_end_the_wait():
    answers = iter([ClusterUnavailableError("no answer"), 5])

    def ask() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    said: list[str] = []
    found = wait_for(
        ask, seconds=9, every=1, say=said.append, out_of_time=TimedOutError, clock=VirtualClock()
    )
    assert (found, said) == (5, ["no answer"])


def test_a_stopped_clock_wakes_whoever_sleeps():
    clock = StoppableClock()
    clock.stop()
    with pytest.raises(StoppedError):
        clock.sleep(1000)
