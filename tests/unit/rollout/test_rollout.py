"""How replicas are replaced, from the room there is."""

from __future__ import annotations

import pytest

from vllm_flows.rollout import AT_REST, Rollout, Strategy, choose_rollout


def room_for(total: int):
    """Return a cluster that holds so many replicas of the model, old and new together."""
    return lambda new, stays: new + stays <= total


@pytest.mark.parametrize(
    ("total", "replicas", "running", "ready", "expected"),
    [
        (4, 2, 2, 2, Rollout(Strategy.SURGE, 2)),
        (3, 2, 2, 2, Rollout(Strategy.SURGE, 1)),
        (2, 2, 2, 2, Rollout(Strategy.ONE_AT_A_TIME)),
        (2, 1, 1, 1, Rollout(Strategy.SURGE, 1)),
        (1, 1, 1, 1, Rollout(Strategy.STOP_FIRST, downtime=True)),
        (1, 1, 1, 0, Rollout(Strategy.STOP_FIRST)),
        (2, 2, 2, 1, Rollout(Strategy.STOP_FIRST, downtime=True)),
        (2, 2, 1, 1, Rollout(Strategy.SURGE, 1)),
        (0, 1, 1, 1, None),
    ],
)
def test_the_gentlest_way_that_has_room_is_taken(
    total: int, replicas: int, running: int, ready: int, expected: Rollout | None
):
    assert choose_rollout(room_for(total), replicas, running, ready) == expected


def test_where_one_old_replica_makes_no_room_for_a_new_one_all_stop_first():
    def room(new: int, stays: int) -> bool:
        return (new, stays) == (2, 0)  # the room of one old replica is too small for a new one

    assert choose_rollout(room, 2, 2, 2) == Rollout(Strategy.STOP_FIRST, downtime=True)


@pytest.mark.parametrize(
    ("rollout", "surge", "unavailable"),
    [
        (Rollout(Strategy.SURGE, 3), 3, 0),
        (Rollout(Strategy.ONE_AT_A_TIME), 0, 1),
        (Rollout(Strategy.STOP_FIRST), 0, "100%"),
        (AT_REST, 1, 0),
    ],
)
def test_each_way_is_written_as_limits_of_a_rolling_update(
    rollout: Rollout, surge: int, unavailable: int | str
):
    limits = {"maxSurge": surge, "maxUnavailable": unavailable}
    assert rollout.as_chart_values() == {"type": "RollingUpdate", "rollingUpdate": limits}


def test_only_a_way_with_downtime_says_that_nobody_answers():
    assert "no replica answers" in Rollout(Strategy.STOP_FIRST, downtime=True).text
    assert "old replicas that answer do so" in Rollout(Strategy.SURGE, 1).text
