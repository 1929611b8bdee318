"""What is done to a release in each state that it is found in, step by step."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import release as tasks
from tests.support import VirtualClock
from vllm_flows.chart import Chart
from vllm_flows.drift import Drift
from vllm_flows.errors import (
    LockedError,
    NoRightError,
    ReleaseError,
    ReleaseUnavailableError,
    TimedOutError,
    VllmFlowsError,
)
from vllm_flows.observed import Release, ReleaseState

CHART = Chart("vllm-stack", (), "0.1.8")
UNFINISHED = [
    ReleaseState.PENDING_INSTALL,
    ReleaseState.PENDING_UPGRADE,
    ReleaseState.PENDING_ROLLBACK,
]


@dataclass
class FakeCluster:
    """A fake: notes what is deleted and merged; `there` are the names of what is."""

    done: list[str]
    there: set[str] = field(default_factory=set)

    def delete(self, kind: str, name: str) -> bool:
        self.done.append(f"delete {kind} {name}")
        return name in self.there

    def find(self, _kind: str, _selector: str = "") -> list[dict[str, Any]]:
        return []

    def merge(self, kind: str, name: str, fields: Mapping[str, Any]) -> None:
        self.done.append(f"merge {kind} {name}: {sorted(fields)}")


@dataclass
class FakeHelm:
    """A fake: a release in one state; `busy_for` and `failing` are used up call by call."""

    done: list[str]
    state: ReleaseState
    ours: bool = True
    updated: float = 0.0
    busy_for: int = 0
    failing: list[VllmFlowsError] = field(default_factory=list)

    def release(self) -> Release:
        return Release(self.state, 4, status=str(self.state), updated=self.updated)

    def upgrade(self, _chart: Chart, values: Mapping[str, Any], _description: str) -> int:
        self.done.append(f"upgrade {dict(values)}")
        if self.failing:
            raise self.failing.pop(0)
        return 5

    def uninstall(self) -> bool:
        self.done.append("uninstall")
        if self.failing:
            self.state = ReleaseState.ABSENT  # done, and the answer is lost
            raise self.failing.pop(0)
        self.state = ReleaseState.ABSENT
        return True

    def busy(self) -> bool:
        self.busy_for -= 1
        return self.busy_for >= 0

    def ending(self) -> str:
        return "kill -- -123"

    def left(self, release: Release) -> bool:
        assert release.revision == 4
        return self.ours


@dataclass
class World:
    """A session of fakes, and what was done and said."""

    helm: FakeHelm
    cluster: FakeCluster
    clock: VirtualClock
    done: list[str]
    said: list[str]
    refused: NoRightError | None = None

    @property
    def session(self) -> Any:
        settings = SimpleNamespace(namespace="ns")
        return SimpleNamespace(
            helm=self.helm,
            cluster=self.cluster,
            clock=self.clock,
            settings=settings,
            refusal_to_remove=lambda: self.refused,
        )

    def apply(self) -> int:
        return tasks.apply_release.fn(self.session, CHART, {"a": 1}, "why", {})

    def remove(self) -> bool:
        return tasks.remove_release.fn(self.session)

    def unlock(self, *, force: bool = False) -> None:
        tasks.unlock_release.fn(self.session, force=force)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    done: list[str] = []
    said: list[str] = []
    clock = VirtualClock()
    monkeypatch.setattr(tasks, "say", said.append)
    begin = time.time()
    monkeypatch.setattr(tasks, "time", SimpleNamespace(time=lambda: begin + clock.now()))
    helm = FakeHelm(done, ReleaseState.DEPLOYED, updated=begin)
    return World(helm, FakeCluster(done), clock, done, said)


@pytest.mark.parametrize("state", [ReleaseState.ABSENT, ReleaseState.DEPLOYED, ReleaseState.FAILED])
def test_what_is_finished_is_upgraded_at_once(world: World, state: ReleaseState):
    world.helm.state = state
    world.helm.ours = False
    assert world.apply() == 5
    assert world.done == ["upgrade {'a': 1}"]
    assert world.clock.slept == []


def test_deployments_that_select_otherwise_are_handed_over_before_helm_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(
        tasks, "hand_over", lambda _session, wanted: world.done.append(f"hand over {wanted}")
    )
    world.apply()
    assert world.done == ["hand over {}", "upgrade {'a': 1}"]


@pytest.mark.parametrize("state", UNFINISHED)
def test_what_our_helm_left_unfinished_is_unlocked_and_upgraded(world: World, state: ReleaseState):
    world.helm.state = state
    assert world.apply() == 5
    assert world.done == ["delete Secret sh.helm.release.v1.vllm.v4", "upgrade {'a': 1}"]
    assert f"revision 4 was left {state}: unlocked" in world.said


@pytest.mark.parametrize("state", UNFINISHED)
def test_what_another_helm_has_at_work_is_untouched_for_ten_minutes(
    world: World, state: ReleaseState
):
    world.helm.state = state
    world.helm.ours = False
    assert world.apply() == 5
    assert world.clock.now() == 600
    assert len(world.done) == 2
    assert f"the release is {state}: waiting for a helm that is not ours" in world.said[1]


def test_a_helm_of_an_earlier_run_is_waited_for_and_not_unlocked(world: World):
    world.helm.state = ReleaseState.PENDING_UPGRADE
    world.helm.busy_for = 3
    world.apply()
    assert len(world.clock.slept) == 3
    assert world.done[0] == "delete Secret sh.helm.release.v1.vllm.v4"
    waits = "waiting for the helm of an earlier run (to end it: kill -- -123)"
    assert f"the release is pending-upgrade: {waits}" in world.said


def test_an_interrupted_removal_is_finished_and_then_it_installs(world: World):
    world.helm.state = ReleaseState.UNINSTALLING
    world.apply()
    assert world.done == ["uninstall", "upgrade {'a': 1}"]
    assert "the removal that was interrupted is finished" in world.said


def test_a_removal_that_another_helm_has_at_work_is_not_finished_for_it(world: World):
    world.helm.state = ReleaseState.UNINSTALLING
    world.helm.ours = False
    world.apply()
    assert world.clock.now() == 600


def test_a_release_that_became_somebody_elses_meanwhile_is_not_written_over(world: World):
    world.helm.state = ReleaseState.UNMANAGED
    with pytest.raises(ReleaseError, match="not made by vllm-flows"):
        world.apply()
    assert world.done == []


def test_helm_is_run_again_when_the_cluster_did_not_answer(world: World):
    world.helm.failing = [ReleaseUnavailableError("helm failed: upgrade", why="i/o timeout")]
    assert world.apply() == 5
    assert world.done == ["upgrade {'a': 1}"] * 2


def test_what_helm_refuses_is_not_tried_again(world: World):
    world.helm.failing = [ReleaseError("helm failed: upgrade")]
    with pytest.raises(ReleaseError, match="helm failed"):
        world.apply()
    assert world.done == ["upgrade {'a': 1}"]


def test_a_cluster_that_never_answers_ends_the_wait_with_a_command(world: World):
    world.helm.failing = [ReleaseUnavailableError("no answer")] * 10_000
    with pytest.raises(TimedOutError, match="could not be changed") as caught:
        world.apply()
    assert caught.value.next_command == "helm history vllm -n ns"
    assert world.clock.now() == 1800


def test_removing_takes_a_release_away_in_any_state_of_ours(world: World):
    for state in (ReleaseState.DEPLOYED, ReleaseState.FAILED, *UNFINISHED):
        world.helm.state = state
        assert world.remove()
    assert world.done == ["uninstall"] * 5
    assert world.clock.slept == []


def test_removing_waits_for_another_helm(world: World):
    world.helm.state = ReleaseState.PENDING_UPGRADE
    world.helm.ours = False
    assert world.remove()
    assert world.clock.now() == 600


def test_removing_a_release_that_is_not_there_does_nothing(world: World):
    world.helm.state = ReleaseState.ABSENT
    assert not world.remove()
    assert world.done == []
    assert world.said == ["there was no release"]


def test_a_release_of_somebody_else_is_not_removed(world: World):
    world.helm.state = ReleaseState.UNMANAGED
    with pytest.raises(ReleaseError, match="not made by vllm-flows") as caught:
        world.remove()
    assert world.done == []
    assert caught.value.next_command == "helm -n ns uninstall vllm"


def test_who_may_not_remove_it_all_removes_nothing(world: World):
    world.refused = NoRightError("jane may not, in ns: delete services")
    with pytest.raises(NoRightError, match="delete services"):
        world.remove()
    assert world.done == []


def test_a_removal_whose_answer_was_lost_counts(world: World):
    world.helm.failing = [ReleaseUnavailableError("the connection broke")]
    assert world.remove()
    assert world.said[-1] == "release removed"


def test_a_run_does_not_begin_before_the_helm_of_a_killed_one_ended(world: World):
    world.helm.busy_for = 4
    tasks.wait_helm_ended(world.session)
    assert len(world.clock.slept) == 4
    (said,) = world.said
    assert said.startswith("the helm of an earlier run is still at work: waiting for its end")
    assert said.endswith("for 10 min 0 s at most; when it hangs: kill -- -123")


def test_a_helm_that_never_ends_is_waited_for_as_long_as_a_run_lets_one_work(world: World):
    world.helm.busy_for = 1_000_000
    with pytest.raises(TimedOutError, match="does not end") as caught:
        tasks.wait_helm_ended(world.session)
    assert world.clock.now() == pytest.approx(600, abs=1)
    assert caught.value.next_command.startswith("kill -- -123 ")


def test_only_what_helm_cannot_set_right_is_written_past_it(world: World):
    repaired = Drift("Service", "s", ("spec.ports: a -> b",), {"spec": {}})
    tasks.set_right.fn(world.session, [Drift("Deployment", "d", ("spec: a -> b",)), repaired])
    assert world.done == ["merge Service s: ['spec']"]
    assert world.said == [f"set right: {repaired.text}"]


def test_of_a_model_that_goes_deployment_and_service_are_deleted_and_what_was_there_is_said(
    world: World,
):
    world.cluster.there = {"vllm-qwen-engine-service"}
    tasks.remove_left_behind.fn(world.session, ["qwen"])
    assert world.done == [
        "delete Deployment vllm-qwen-deployment-vllm",
        "delete Service vllm-qwen-engine-service",
    ]
    assert world.said == ["qwen: Service vllm-qwen-engine-service was left behind: deleted"]


@pytest.mark.parametrize("state", UNFINISHED)
def test_unlocking_takes_away_what_our_dead_helm_left_and_nothing_else(
    world: World, state: ReleaseState
):
    world.helm.state = state
    world.unlock()
    assert world.done == ["delete Secret sh.helm.release.v1.vllm.v4"]


def test_unlocking_refuses_what_a_helm_may_be_at_work_on_unless_forced(world: World):
    world.helm.state = ReleaseState.PENDING_UPGRADE
    world.helm.ours = False
    with pytest.raises(LockedError, match="waiting for a helm that is not ours"):
        world.unlock()
    assert (world.done, world.clock.slept) == ([], [])
    world.unlock(force=True)
    assert world.done == ["delete Secret sh.helm.release.v1.vllm.v4"]


@pytest.mark.parametrize("state", [one for one in ReleaseState if one not in UNFINISHED])
def test_unlocking_leaves_a_release_alone_that_is_not_pending(world: World, state: ReleaseState):
    world.helm.state = state
    world.unlock(force=True)
    assert world.done == []
