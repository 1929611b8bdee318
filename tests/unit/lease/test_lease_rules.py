from __future__ import annotations

from datetime import timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from vllm_flows.lease_rules import (
    Held,
    Take,
    decide,
    released,
    renewed,
    same_hold,
    taken,
)

if TYPE_CHECKING:
    from conftest import World

ELSEWHERE = "bob@far pid 10 install [other/1/100/bob]"
HERE_AND_GONE = "bob@host pid 11 install [boot/1/110/bob]"
ME = "alice@host pid 10 upgrade [boot/1/100/alice]"


def decided(world: World, lease: Any, after: float) -> Take | Held:
    now = world.clock.wall() + timedelta(seconds=after)
    return decide(lease, ME, now, world.run("alice").here)


def held_by(world: World, who: str) -> dict[str, Any]:
    return taken(None, "models", who, world.clock.wall())


def test_a_lease_that_is_not_there_or_has_no_holder_is_free(world: World):
    assert decided(world, None, 0) == Take()
    free = released(held_by(world, ELSEWHERE), world.clock.wall())
    assert "holderIdentity" not in free["spec"]
    assert decided(world, free, 0) == Take()


def test_our_own_hold_is_ours_when_the_answer_to_taking_it_was_lost(world: World):
    assert decided(world, held_by(world, ME), 1) == Take()


@pytest.mark.parametrize("after", [-3600, 0, 29, 34])
def test_another_machines_hold_counts_for_its_duration_and_five_seconds_more(
    world: World, after: int
):
    found = decided(world, held_by(world, ELSEWHERE), after)
    assert found == Held("bob@far pid 10 install", world.clock.wall(), after, 35 - after)


def test_another_machines_hold_ends_when_it_is_not_renewed(world: World):
    assert decided(world, held_by(world, ELSEWHERE), 36) == Take("bob@far pid 10 install")


def test_a_renewed_hold_goes_on(world: World):
    begin = world.clock.wall()
    lease = renewed(held_by(world, ELSEWHERE), begin + timedelta(seconds=20))
    assert decided(world, lease, 50) == Held("bob@far pid 10 install", begin, 30, 5)


def test_the_duration_is_the_holders(world: World):
    lease = held_by(world, ELSEWHERE)
    lease["spec"]["leaseDurationSeconds"] = 3600
    assert isinstance(decided(world, lease, 3000), Held)


def test_a_holder_that_was_killed_on_this_machine_is_followed_at_once(world: World):
    taken_over = Take("bob@host pid 11 install")
    assert decided(world, held_by(world, HERE_AND_GONE), 0) == taken_over


def test_a_hold_that_was_never_renewed_does_not_last(world: World):
    lease = {"spec": {"holderIdentity": "someone"}}
    assert decided(world, lease, 0) == Take("someone")


def test_each_hold_has_its_own_number(world: World):
    first = held_by(world, ELSEWHERE)
    second = taken(first, "models", ELSEWHERE, world.clock.wall())
    assert (first["spec"]["leaseTransitions"], second["spec"]["leaseTransitions"]) == (1, 2)
    assert not same_hold(second, first)
    assert same_hold(renewed(first, world.clock.wall()), first)
    assert not same_hold(None, first)


def test_times_are_written_as_the_api_insists(world: World):
    assert held_by(world, ME)["spec"]["renewTime"] == "2030-01-01T00:00:00.000000Z"


def test_the_refusal_names_the_holder_since_when_and_when_it_was_last_heard_of(world: World):
    now = world.clock.wall()
    error = Held("bob@far pid 10 install", now - timedelta(seconds=90), 2, 33).refusal("ns", now)
    assert str(error) == (
        "namespace ns is locked: held by bob@far pid 10 install\n"
        "  why:  since 2029-12-31 23:58:30 UTC (1 min 30 s), last renewed 2 s ago; "
        "if that run is gone, the lock is free in 33 s\n"
        "  next: kubectl get lease vllm-flows -n ns -o yaml   "
        "(run this again when that run has ended)"
    )
    assert error.exit_code == 5


def test_a_clock_that_is_ahead_is_told_of_with_the_way_out(world: World):
    error = Held("bob@far pid 10 install", None, -3600, 3635).refusal("ns", world.clock.wall())
    assert error.why == "last renewed 1 h 0 min in the future: its clock or this machine's is wrong"
    assert error.next_command.startswith("kubectl delete lease vllm-flows -n ns ")


def test_a_lease_that_was_deleted_and_made_anew_by_another_run_is_not_our_hold(world: World):
    ours, theirs = held_by(world, ME), held_by(world, ELSEWHERE)
    assert ours["spec"]["leaseTransitions"] == theirs["spec"]["leaseTransitions"]
    assert not same_hold(theirs, ours)


def test_who_takes_over_holds_it_since_then_and_not_since_the_one_before(world: World):
    later = world.clock.wall() + timedelta(seconds=90)
    spec = taken(held_by(world, ELSEWHERE), "models", ME, later)["spec"]
    assert spec["acquireTime"] == spec["renewTime"] == "2030-01-01T00:01:30.000000Z"


def test_times_of_another_zone_are_written_as_the_api_insists(world: World):
    elsewhere = world.clock.wall().astimezone(timezone(timedelta(hours=2)))
    assert taken(None, "models", ME, elsewhere)["spec"]["renewTime"].startswith("2030-01-01T00:00")


def test_a_clock_that_is_ahead_by_no_more_than_clocks_differ_is_not_called_wrong(world: World):
    error = Held("bob@far pid 10 install", None, -2, 37).refusal("ns", world.clock.wall())
    assert error.why.startswith("last renewed 0 s ago")
    assert error.next_command.startswith("kubectl get lease")


def test_the_lease_says_whose_it_is(world: World):
    labels = held_by(world, ME)["metadata"]["labels"]
    assert labels == {"app.kubernetes.io/managed-by": "vllm-flows"}
