"""What stands in the way of a run, and taking it away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from vllm_flows.errors import LockedError, LockLostError
from vllm_flows.lease_holder import Machine
from vllm_flows.lease_rules import Held, Take, decide
from vllm_flows.observed import Release, ReleaseState
from vllm_flows.unlocking import Locks, seize

if TYPE_CHECKING:
    from conftest import World

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)

FREE, LEFT = Take(), Take("bob@far pid 10 install", BEGIN, BEGIN + timedelta(seconds=10))
HELD = Held("bob@far pid 10 install", BEGIN, 2.0, 33.0)
NOW = BEGIN + timedelta(minutes=3)
DEPLOYED = Release(ReleaseState.DEPLOYED, 7, status="deployed")
PENDING = Release(ReleaseState.PENDING_UPGRADE, 8, status="pending-upgrade")


@pytest.mark.parametrize(
    ("lock", "release", "seconds", "anything", "alive"),
    [
        (FREE, DEPLOYED, 0, False, False),
        (FREE, Release(ReleaseState.ABSENT), 0, False, False),
        (FREE, DEPLOYED, 500, False, False),
        (LEFT, DEPLOYED, 0, True, False),
        (FREE, PENDING, 0, True, False),
        (FREE, PENDING, 500, True, True),
        (HELD, DEPLOYED, 0, True, True),
    ],
)
def test_what_is_left_behind_is_told_from_what_is_in_use(
    lock: Held | Take, release: Release, seconds: float, *, anything: bool, alive: bool
):
    locks = Locks("models", lock, release, seconds)
    assert (locks.anything, locks.alive) == (anything, alive)
    if not alive:
        locks.check(NOW)
        return
    with pytest.raises(LockedError) as refused:
        locks.check(NOW)
    assert "vllm-flows unlock --force" in refused.value.next_command


def test_of_a_helm_of_this_machine_that_is_at_work_the_command_that_ends_it_is_told():
    with pytest.raises(LockedError, match="still at work") as refused:
        Locks("models", FREE, PENDING, 1, "kill -- -123").check(NOW)
    assert refused.value.next_command.endswith("when it hangs: kill -- -123")
    assert "has ended, or holds the namespace's lock no longer" in refused.value.why


def test_who_holds_the_lock_is_told_since_when_and_when_it_was_renewed():
    held = Locks("models", HELD, DEPLOYED, 0).lines(NOW)
    assert "held by bob@far pid 10 install, since 2030-01-01 00:00:00 UTC (3 min 0 s)" in held[0]
    assert "last renewed 2 s ago" in held[0]
    left = Locks("models", LEFT, PENDING, 0).lines(NOW)
    assert "left behind by bob@far pid 10 install" in left[0]
    assert "last renewed 2030-01-01 00:00:10 UTC (2 min 50 s)" in left[0]
    assert left[1] == "release: left pending-upgrade (revision 8) by a helm that did not end"
    free = Locks("models", FREE, Release(ReleaseState.ABSENT), 0).lines(NOW)
    assert free == ["lock of namespace models: free", "release: none"]


def test_an_interrupted_removal_is_left_to_who_finishes_it():
    locks = Locks("models", FREE, Release(ReleaseState.UNINSTALLING, 8, status="uninstalling"), 0)
    assert not locks.anything
    assert "finishes it" in locks.lines(NOW)[1]


def test_the_lease_tells_when_a_gone_holder_took_it(world: World):
    world.holding("bob", pid=30)
    lease = world.cluster.get("Lease", "vllm-flows")
    decision = decide(lease, "", BEGIN, Machine("host", "boot", "1", {}.get))
    assert isinstance(decision, Take)
    assert (decision.since, decision.renewed) == (BEGIN, BEGIN)


def test_a_lock_that_is_seized_is_free_and_its_holder_learns_of_it(world: World):
    holder = world.holding("bob", host="far")
    seize(world.cluster, world.clock.wall)
    assert "holderIdentity" not in world.cluster.lease
    with pytest.raises(LockLostError):
        holder.check()
    other = world.holding("eve", host="far")
    other.check()


def test_a_renewal_at_that_moment_is_no_obstacle(world: World):
    holder = world.holding("bob", host="far")
    world.cluster.before = holder.renew
    seize(world.cluster, world.clock.wall)
    assert "holderIdentity" not in world.cluster.lease


def test_seizing_a_free_lock_writes_nothing(world: World):
    seize(world.cluster, world.clock.wall)
    world.holding("bob").release()
    writes = world.cluster.writes
    seize(world.cluster, world.clock.wall)
    assert world.cluster.writes == writes
