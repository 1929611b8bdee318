from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from tests.support import VirtualClock
from vllm_flows.errors import ClusterError, ClusterUnavailableError, NoRightError
from vllm_flows.log_following import Line, LogFollower, Look
from vllm_flows.log_sources import Source

A, B = Source("a", "vllm"), Source("b", "vllm")


def stamped(second: int) -> bytes:
    return b"2026-01-01T00:00:%02d.000000000Z line %d" % (second, second)


@dataclass
class Play:
    """Looks and logs as they come, one after the other; the last look is the end of it all."""

    looks: Sequence[Look | ClusterError]
    logs: dict[str, list[list[bytes] | ClusterError]]
    said: list[str] = field(default_factory=list)
    asked: list[tuple[str, int | None, float | None]] = field(default_factory=list)
    clock: VirtualClock = field(default_factory=VirtualClock)

    def __post_init__(self) -> None:
        self._looks = iter(self.looks)

    def look(self) -> Look:
        found = next(self._looks, Look((), over=True))
        if isinstance(found, ClusterError):
            raise found
        return found

    def read(self, source: Source, tail: int | None, seconds: float | None) -> Iterator[bytes]:
        self.asked.append((source.pod, tail, seconds))
        found = self.logs[source.pod].pop(0) if self.logs[source.pod] else []
        if isinstance(found, ClusterError):
            raise found
        yield from found

    def lines(self, tail: int | None = None) -> list[str]:
        follower = LogFollower(self.look, self.read, self.said.append, self.clock, tail, tick=0.005)
        return [self._text(line) for line in follower.lines() if line or self._wait()]

    def _wait(self) -> bool:
        self.clock.sleep(1)
        return False

    @staticmethod
    def _text(line: Line | None) -> str:
        assert line
        return f"{line[0].pod}: {line[1].decode()}"


def test_a_pod_that_is_replaced_is_followed_by_the_next_one():
    play = Play([Look((A,)), Look((A, B)), Look((B,))], {"a": [[stamped(1)]], "b": [[stamped(2)]]})
    assert play.lines(tail=5) == ["a: line 1", "b: line 2"]
    assert play.asked[0] == ("a", 5, None)
    assert ("b", None, None) in play.asked
    assert play.said == [
        "now also from pod b",
        "pod a is gone",
        "pod b is gone; waiting for the next one",
    ]


def test_a_container_that_starts_anew_is_followed_on():
    again = Source("a", "vllm", runs=1, ended="exit code 1, Error")
    logs: list[list[bytes] | ClusterError] = [[stamped(1)], [stamped(1), stamped(2)]]
    play = Play([Look((A,)), Look((again,))], {"a": logs})
    assert play.lines() == ["a: line 1", "a: line 2"]
    assert "pod a started anew; before: exit code 1, Error" in play.said
    _, tail, seconds = play.asked[1]
    assert tail is None
    assert seconds is not None
    assert seconds >= 5


def test_the_log_of_what_ended_is_read_once():
    ended = Source("a", "vllm", running=False)
    play = Play([Look((ended,)), Look((ended,)), Look((ended,))], {"a": [[stamped(1)]]})
    assert play.lines() == ["a: line 1"]
    assert len(play.asked) == 1


def test_an_api_that_is_away_for_a_while_ends_nothing_and_is_said_once():
    away = ClusterUnavailableError("cannot list pods", why="refused")
    play = Play(
        [Look((A,)), away, away, Look((A,)), Look((A,))],
        {"a": [[stamped(1)], ClusterUnavailableError("gone"), [stamped(1), stamped(2)]]},
    )
    assert play.lines() == ["a: line 1", "a: line 2"]
    assert play.said.count("cannot list pods (refused)") == 1


def test_what_is_waited_for_is_said():
    waiting = Source("a", "vllm", running=False, waits="ContainerCreating")
    play = Play([Look(()), Look((waiting,)), Look((waiting,)), Look((A,))], {"a": [[stamped(1)]]})
    assert play.lines() == ["a: line 1"]
    assert play.said[:3] == [
        "there is no pod yet; waiting for one",
        "now also from pod a",
        "waiting for pod a: ContainerCreating",
    ]


@pytest.mark.parametrize("where", ["look", "read"])
def test_a_right_that_is_missing_ends_it(where: str):
    missing = NoRightError("no right to read the log")
    play = Play([Look((A,)) if where == "read" else missing], {"a": [missing]})
    with pytest.raises(NoRightError):
        play.lines()


def test_a_log_that_the_api_refuses_twice_is_said():
    refused = ClusterError("cannot read the log", why="400")
    play = Play([Look((A,)), Look((A,)), Look((A,))], {"a": [refused, refused, refused]})
    assert play.lines() == []
    assert play.said.count("cannot read the log (400)") == 1
