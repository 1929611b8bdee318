from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from vllm_flows.errors import ClusterUnavailableError, LockedError, LockLostError, NoRightError
from vllm_flows.lease import Lock, SuspendedTimeClock, current_holder
from vllm_flows.lease_rules import DURATION_SECONDS, LEASE

if TYPE_CHECKING:
    from conftest import World


def test_one_run_wins_and_the_other_names_it(world: World):
    world.holding("alice", 10)
    with pytest.raises(LockedError, match="held by alice@host pid 10 upgrade"):
        world.run("bob", 20).acquire()


def test_of_two_that_begin_at_once_where_no_lease_is_one_wins(world: World):
    world.cluster.before = lambda: world.holding("bob", 20)
    with pytest.raises(LockedError, match="held by bob"):
        world.run("alice", 10).acquire()
    assert world.cluster.lease["holderIdentity"].startswith("bob@")


def test_of_two_that_take_a_free_lease_at_once_one_wins(world: World):
    world.holding("carol").release()
    world.cluster.before = lambda: world.holding("bob", 20)
    with pytest.raises(LockedError, match="held by bob"):
        world.run("alice", 10).acquire()


def test_a_holder_that_renews_just_before_it_would_be_replaced_stays(world: World):
    far = world.holding("bob", host="far")
    world.clock.time += 40
    world.cluster.before = far.renew
    with pytest.raises(LockedError, match="held by bob@far"):
        world.run("alice").acquire()
    far.check()


def test_a_lease_that_somebody_else_changes_each_time_is_given_up(world: World):
    world.holding("carol").release()

    def come_and_go() -> None:
        world.holding("bob", 20).release()
        world.cluster.before = come_and_go

    world.cluster.before = come_and_go
    with pytest.raises(LockedError, match="held by several runs in turn"):
        world.run("alice").acquire()


def test_after_a_release_the_next_run_takes_the_same_lease(world: World):
    with world.run("alice"):
        assert world.cluster.lease["holderIdentity"].startswith("alice@")
    assert "holderIdentity" not in world.cluster.lease
    world.holding("bob").check()
    assert world.cluster.lease["leaseTransitions"] == 2
    assert not world.said


def test_the_run_after_a_killed_one_takes_over_at_once_and_says_so(world: World):
    world.holding("alice", 11)  # no such process
    world.holding("bob", 20).check()
    (said,) = world.said
    assert said.startswith("the lock is taken over from alice@host pid 11 upgrade, ")


def test_the_lock_is_released_when_the_run_fails(world: World):
    with pytest.raises(KeyboardInterrupt), world.run("alice"):
        raise KeyboardInterrupt
    assert "holderIdentity" not in world.cluster.lease


def test_acquiring_again_succeeds_when_only_the_answer_was_lost(world: World):
    lock = world.run("alice")
    world.cluster.lose_answers = True
    with pytest.raises(ClusterUnavailableError):
        lock.acquire()
    world.cluster.lose_answers = False
    lock.acquire()
    lock.check()


def test_a_thread_renews_every_five_seconds(world: World):
    world.clock.rounds = 3
    _acquire_and_wait(world.run("alice"))
    assert world.clock.slept == [5.0, 5.0, 5.0]
    assert world.cluster.lease["renewTime"] == "2030-01-01T00:00:15.000000Z"


def test_a_renewal_that_failed_is_tried_again_soon(world: World):
    lock = world.run("alice")

    def fail_once() -> None:
        raise ClusterUnavailableError("no answer")

    world.clock.rounds = 3
    world.cluster.before = lambda: setattr(world.cluster, "before", fail_once)
    _acquire_and_wait(lock)
    assert world.clock.slept == [5.0, 1.0, 5.0]
    lock.check()


def test_the_thread_ends_when_the_lock_is_lost(world: World):
    world.clock.rounds = 100
    lock = world.run("alice")
    world.cluster.before = lambda: setattr(world.cluster, "before", world.cluster.objects.clear)
    _acquire_and_wait(lock)
    assert world.clock.slept == [5.0]


def _acquire_and_wait(lock: Lock) -> None:
    lock.acquire()
    for thread in threading.enumerate():
        if thread.name == "lock":
            thread.join()


def test_a_check_within_seconds_of_a_renewal_writes_nothing(world: World):
    lock = world.holding("alice")
    writes = world.cluster.writes
    world.clock.time += 9
    lock.check()
    assert world.cluster.writes == writes


def test_a_check_leaves_time_for_the_write_that_follows(world: World):
    lock = world.holding("alice")
    world.clock.time += 20
    lock.check()
    assert world.cluster.lease["renewTime"] == "2030-01-01T00:00:20.000000Z"


def test_a_run_paused_past_its_lease_applies_nothing_when_it_wakes(world: World):
    paused = world.holding("alice", host="far")
    world.clock.time += 40
    world.holding("bob", 20)
    with pytest.raises(LockLostError, match="held by bob@host pid 20 upgrade; nothing more"):
        paused.check()


def test_once_lost_is_always_lost(world: World):
    paused = world.holding("alice", host="far")
    world.clock.time += 40
    other = world.holding("bob", 20)
    with pytest.raises(LockLostError):
        paused.renew()
    other.release()
    for use in (paused.check, paused.renew, paused.acquire):
        with pytest.raises(LockLostError):
            use()
    paused.release()
    assert world.cluster.lease["leaseTransitions"] == 2


def test_a_hold_that_was_taken_and_given_back_meanwhile_is_lost(world: World):
    paused = world.holding("alice", host="far")
    world.clock.time += 40
    world.holding("bob", 20).release()
    with pytest.raises(LockLostError):
        paused.check()


def test_a_run_paused_past_its_lease_goes_on_when_nobody_took_it(world: World):
    paused = world.holding("alice")
    world.clock.time += 3600
    paused.check()
    with pytest.raises(LockedError):
        world.run("bob", 20).acquire()


def test_nobody_comes_between_the_check_of_an_expired_hold_and_its_renewal(world: World):
    paused = world.holding("alice", host="far")
    world.clock.time += 40
    world.cluster.before = lambda: world.holding("bob", 20)
    with pytest.raises(LockLostError, match="held by bob"):
        paused.check()


def test_a_deleted_lease_is_a_lost_lock(world: World):
    lock = world.holding("alice")
    world.cluster.objects.clear()
    with pytest.raises(LockLostError, match="deleted"):
        lock.check()


def test_an_api_outage_shorter_than_the_duration_is_survived(world: World):
    lock = world.holding("alice")
    world.cluster.silent = True
    world.clock.time += 29
    lock.check()


def test_an_api_outage_as_long_as_the_duration_is_not(world: World):
    lock = world.holding("alice")
    world.cluster.silent = True
    world.clock.time += DURATION_SECONDS
    with pytest.raises(ClusterUnavailableError):
        lock.check()


def test_in_a_longer_outage_nothing_is_applied_until_the_api_is_back(world: World):
    lock = world.holding("alice")
    world.cluster.silent = True
    world.clock.time += 60
    with pytest.raises(ClusterUnavailableError) as caught:
        lock.check()
    assert caught.value.retryable
    world.cluster.silent = False
    lock.check()
    assert world.cluster.lease["leaseTransitions"] == 1


def test_a_renewal_whose_answer_was_lost_does_not_lose_the_lock(world: World):
    lock = world.holding("alice")
    world.cluster.lose_answers = True
    with pytest.raises(ClusterUnavailableError):
        lock.renew()
    world.cluster.lose_answers = False
    lock.renew()
    lock.check()


def test_releasing_twice_or_without_holding_changes_nothing(world: World):
    lock = world.holding("alice")
    lock.release()
    world.holding("bob", 20)
    lock.release()
    world.run("carol").release()
    assert world.cluster.lease["holderIdentity"].startswith("bob@")


def test_after_its_release_a_run_applies_nothing(world: World):
    lock = world.holding("alice")
    lock.release()
    with pytest.raises(LockLostError, match="it was released"):
        lock.check()


def test_without_acquiring_a_run_applies_nothing(world: World):
    with pytest.raises(LockLostError, match="never acquired"):
        world.run("alice").check()


def test_a_release_works_when_the_namespace_is_gone(world: World):
    lock = world.holding("alice")
    world.cluster.objects.clear()
    lock.release()
    assert not world.said
    assert not world.cluster.objects


def test_a_release_after_a_renewal_whose_answer_was_lost_releases(world: World):
    lock = world.holding("alice")
    world.cluster.lose_answers = True
    with pytest.raises(ClusterUnavailableError):
        lock.renew()
    world.cluster.lose_answers = False
    lock.release()
    assert "holderIdentity" not in world.cluster.lease


def test_a_run_that_lost_the_lock_unaware_does_not_release_the_others(world: World):
    paused = world.holding("alice", host="far")
    world.clock.time += 40
    other = world.holding("bob", 20)
    paused.release()
    other.check()


def test_a_release_without_an_answer_is_told_and_not_raised(world: World):
    lock = world.holding("alice")
    world.cluster.silent = True
    lock.release()
    assert world.said == ["the lock could not be released, it ends in 35 s: no answer"]


@pytest.mark.parametrize("there", [True, False])
def test_a_right_to_release_that_went_with_the_namespace_is_missed_by_nobody(
    world: World, *, there: bool
):
    def refuse() -> None:
        raise NoRightError("no right to replace Lease")

    lock = world.holding("alice")
    if there:
        world.cluster.objects["Namespace", "models"] = {"metadata": {}}
    world.cluster.before = refuse
    lock.release()
    told = ["the lock could not be released, it ends in 35 s: no right to replace Lease"]
    assert world.said == (told if there else [])


def test_missing_rights_come_through(world: World):
    def refuse() -> None:
        raise NoRightError("no right to create Lease", next_command="vllm-flows doctor")

    world.cluster.before = refuse
    with pytest.raises(NoRightError, match="no right to create Lease"):
        world.run("alice").acquire()


def test_who_only_reads_sees_the_holder_and_writes_nothing(world: World):
    assert current_holder(world.cluster, world.clock.wall) is None
    world.holding("alice", host="far")
    writes = world.cluster.writes
    found = current_holder(world.cluster, world.clock.wall)
    assert found
    assert found.by == "alice@far pid 10 upgrade"
    assert world.cluster.writes == writes
    assert list(world.cluster.objects) == [("Lease", LEASE)]


def test_the_clock_of_renewals_goes_forward():
    clock = SuspendedTimeClock()
    assert clock.now() <= clock.now()
