"""What may be done to a release, from the state that it is in."""

from __future__ import annotations

import pytest

from vllm_flows.observed import Release, ReleaseState
from vllm_flows.release_rules import (
    LONGEST_HELM_SECONDS,
    RELEASE_ACTIONS,
    ReleaseAction,
    release_from,
    wait_before_unlock,
)

NOW = 1_800_000_000.0
STUCK = Release(ReleaseState.PENDING_UPGRADE, 4, updated=NOW - 60)


def test_every_state_has_an_action():
    assert set(RELEASE_ACTIONS) == set(ReleaseState)


@pytest.mark.parametrize(
    "state",
    [
        ReleaseState.PENDING_INSTALL,
        ReleaseState.PENDING_UPGRADE,
        ReleaseState.PENDING_ROLLBACK,
    ],
)
def test_an_unfinished_revision_is_unlocked_and_then_upgraded(state: ReleaseState):
    assert RELEASE_ACTIONS[state] is ReleaseAction.UNLOCK


def test_what_a_run_of_this_machine_left_is_unlocked_at_once():
    assert wait_before_unlock(STUCK, NOW, ours=True, busy=False) == 0


def test_a_helm_that_outlived_its_run_is_waited_for():
    assert wait_before_unlock(STUCK, NOW, ours=True, busy=True) > 0


def test_somebody_elses_helm_is_given_its_longest_time():
    assert wait_before_unlock(STUCK, NOW, ours=False, busy=False) == LONGEST_HELM_SECONDS - 60
    assert wait_before_unlock(STUCK, NOW + 3600, ours=False, busy=False) == 0


def test_helms_time_is_read_with_nine_digits_and_an_unknown_one_is_long_ago():
    row = {"revision": 1, "status": "deployed", "chart": "vllm-stack-0.1.8"}
    read = release_from({**row, "updated": "2027-01-15T08:00:00.123456789Z"}, {})
    assert int(read.updated) == NOW
    assert release_from({**row, "updated": "soon"}, {}).updated == 0
