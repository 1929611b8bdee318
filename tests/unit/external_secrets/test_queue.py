from __future__ import annotations

from sandbox.external_secrets.queue import Key, Queue

FIRST, SECOND = Key("ExternalSecret", "ns", "first"), Key("ExternalSecret", "ns", "second")


class Clock:
    """A time that is set by hand."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def test_what_is_due_first_comes_first() -> None:
    clock = Clock()
    queue = Queue(clock)
    queue.add(FIRST, 10)
    queue.add(SECOND, 5)
    clock.time += 20
    assert [queue.next(), queue.next()] == [SECOND, FIRST]


def test_a_key_is_in_it_once_at_the_earlier_time() -> None:
    clock = Clock()
    queue = Queue(clock)
    queue.add(FIRST, 3600)
    queue.add(FIRST)
    queue.add(FIRST, 60)
    assert queue.next() == FIRST
    queue.add(SECOND)
    assert queue.next() == SECOND


def test_what_fails_again_waits_longer_until_it_succeeds() -> None:
    clock = Clock()
    queue = Queue(clock)
    queue.retry(FIRST)
    clock.time += 1
    assert queue.next() == FIRST
    queue.retry(FIRST)
    queue.add(SECOND, 1.5)
    clock.time += 1.6
    assert queue.next() == SECOND
    clock.time += 0.5
    assert queue.next() == FIRST
    queue.succeeded(FIRST)
    queue.retry(FIRST)
    clock.time += 1
    assert queue.next() == FIRST
