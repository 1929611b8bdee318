"""Replicas that find room only in part: what is not begun, and what is no rolling update."""

from __future__ import annotations

from vllm_flows.rollout import Rollout, Strategy, choose_rollout


def test_one_new_replica_for_two_old_ones_without_room_is_downtime():
    def room(new: int, stays: int) -> bool:
        return new + stays <= 1

    assert choose_rollout(room, 1, 2, 2) == Rollout(Strategy.STOP_FIRST, downtime=True)


def test_nothing_is_begun_where_the_last_of_the_new_replicas_has_no_room():
    def room(new: int, stays: int) -> bool:
        return (new, stays) == (1, 1)  # the new ones are larger: two of them have no room

    assert choose_rollout(room, 2, 2, 2) is None


def test_all_new_replicas_start_at_once_where_all_have_room():
    assert choose_rollout(lambda _new, _stays: True, 4, 4, 4) == Rollout(Strategy.SURGE, 4)
