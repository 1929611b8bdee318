from __future__ import annotations

import pytest

from cli.server_presence import Presence
from vllm_flows.errors import TimedOutError

REFUSED = "Connection refused"


class World:
    """A server that is asked at times of its own, and what is said of it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[str] = []
        self.presence = Presence(
            "http://prefect:4200/api", 180.0, self.said.append, clock=lambda: self.now
        )

    def ask(self, seconds: int, why_not: str) -> None:
        """Ask every three seconds, for so long."""
        for _ in range(0, seconds, 3):
            self.presence.heard(why_not)
            self.now += 3


@pytest.fixture
def world() -> World:
    return World()


def test_that_the_server_is_away_and_that_it_is_back_is_said_once(world: World):
    for _ in range(2):
        world.ask(9, "")
        world.ask(60, REFUSED)
        world.ask(9, "")
    away, back, *again = world.said
    assert "is away (Connection refused); runs go on" in away
    assert back == "the Prefect server is back"
    assert again == [away, back]


def test_one_answer_that_fails_to_come_is_not_worth_saying(world: World):
    world.ask(9, REFUSED)
    world.ask(3, "")
    world.ask(9, REFUSED)
    assert world.said == []


def test_a_server_that_comes_back_within_three_minutes_ends_nothing(world: World):
    world.ask(180, REFUSED)
    world.ask(3, "")
    world.ask(180, REFUSED)


def test_a_server_that_is_away_for_three_minutes_is_given_up(world: World):
    with pytest.raises(TimedOutError) as gone:
        world.ask(200, REFUSED)
    assert world.now == 180
    assert gone.value.what == "the Prefect server http://prefect:4200/api is away for 3 min 0 s"
    assert gone.value.why == REFUSED
    assert gone.value.next_command.startswith("vllm-flows serve")
