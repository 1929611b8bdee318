"""Runs that hold the lock: what is checked before, meanwhile and afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from flows import running
from vllm_flows.errors import (
    ClusterUnavailableError,
    CompletionError,
    ConfigurationError,
    LockedError,
    LockLostError,
    StoppedError,
)
from vllm_flows.lease import Lock, current_holder
from vllm_flows.lease_rules import LEASE
from vllm_flows.settings import Settings, load_settings
from vllm_flows.waiting import StoppableClock

if TYPE_CHECKING:
    from conftest import World

Locked = Callable[[Any, str], AbstractContextManager[Any]]
BOTH = pytest.mark.parametrize("locked", [running.locked, running.locked_if_there])
FAILED = CompletionError("the answer has no text", model="qwen")


@dataclass
class Run:
    """Stands for a session: notes in which order things happen."""

    world: World
    events: list[str] = field(default_factory=list)
    guard: Any = None
    settings: Any = field(default_factory=lambda: SimpleNamespace(namespace="models"))

    @property
    def cluster(self) -> Any:
        return self.world.cluster

    def guarded(self, guard: Any) -> Run:
        return Run(self.world, self.events, guard)


@pytest.fixture
def run(world: World, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a run named alice whose namespace is there."""
    found = Run(world)
    world.cluster.objects["Namespace", "models"] = {"metadata": {"name": "models"}}

    def lock_of(_cluster: object, verb: str, _say: object) -> Lock:
        found.events.append(f"lock for {verb}")
        return world.run("alice")

    def wait_helm_ended(session: Run) -> None:
        session.guard()
        found.events.append("no helm at work")

    def ensure_namespace(_session: Run) -> None:
        found.events.append("namespace")

    def delete_leftovers(session: Run) -> None:
        session.guard()
        found.events.append("no leftovers")

    monkeypatch.setattr(running, "Lock", SimpleNamespace(of=lock_of))
    monkeypatch.setattr(running, "delete_leftovers", delete_leftovers)
    monkeypatch.setattr(running, "wait_helm_ended", wait_helm_ended)
    monkeypatch.setattr(running, "ensure_namespace", ensure_namespace)
    return found


def fail_after(happens: Callable[[], None], run: Run) -> None:
    """Run a block under the lock that fails once this has happened."""
    with running.locked(run, "deploy"):  # type: ignore[arg-type]  # a stand-in
        happens()
        raise FAILED


def fall_silent(run: Run) -> None:
    """Let the API give no answer for longer than a hold lasts without one."""
    run.world.clock.time += 60
    run.world.cluster.silent = True


def delete_lease(run: Run) -> None:
    """Let somebody end the hold while the block runs."""
    del run.world.cluster.objects["Lease", LEASE]


@BOTH
def test_a_run_begins_once_it_has_the_lock_and_no_helm_is_at_work(run: Run, locked: Locked):
    with locked(run, "deploy"):
        run.events.append("block")
    before, after = ["lock for deploy", "no helm at work"], ["block"]
    if locked is running.locked:
        before, after = ["namespace", *before], ["no leftovers", *after]
    assert run.events == [*before, *after]


@BOTH
def test_every_write_checks_the_lock_that_the_run_holds(run: Run, locked: Locked):
    guards = []
    with suppress(LockLostError), locked(run, "deploy") as session:
        session.guard()
        delete_lease(run)
        guards.append(session.guard)
    with pytest.raises(LockLostError):
        guards[0]()


@BOTH
def test_afterwards_the_lock_is_free_whatever_came_of_it(run: Run, locked: Locked):
    with locked(run, "deploy"):
        assert run.world.cluster.lease["holderIdentity"].startswith("alice@host")
    assert "holderIdentity" not in run.world.cluster.lease
    with pytest.raises(KeyboardInterrupt), locked(run, "deploy"):
        raise KeyboardInterrupt
    assert "holderIdentity" not in run.world.cluster.lease


@BOTH
def test_while_another_run_holds_it_nothing_is_begun(run: Run, locked: Locked):
    run.world.holding("bob", 20)
    with pytest.raises(LockedError, match="bob@host pid 20"), locked(run, "deploy"):
        run.events.append("block")
    assert run.events[-1] == "lock for deploy"


@BOTH
def test_what_fails_under_the_lock_is_told_as_it_is(run: Run, locked: Locked):
    with pytest.raises(CompletionError) as caught, locked(run, "deploy"):
        raise FAILED
    assert caught.value is FAILED


def test_a_good_end_does_not_count_once_the_lock_was_lost(run: Run):
    with pytest.raises(LockLostError), running.locked(run, "deploy"):  # type: ignore[arg-type]  # a stand-in
        delete_lease(run)


def test_what_failed_once_the_lock_was_lost_may_be_another_runs_doing(run: Run):
    with pytest.raises(LockLostError):
        fail_after(lambda: delete_lease(run), run)


def test_an_api_that_is_silent_at_the_end_changes_no_outcome(run: Run):
    with running.locked(run, "deploy"):  # type: ignore[arg-type]  # a stand-in
        fall_silent(run)
    run.world.cluster.silent = False
    with pytest.raises(CompletionError):
        fail_after(lambda: fall_silent(run), run)


@pytest.mark.parametrize("deleted", [True, False])
def test_where_the_namespace_is_gone_or_goes_nobody_can_hold_a_lock(
    run: Run,
    deleted: bool,  # noqa: FBT001 -- a parameter of the test
):
    if deleted:
        del run.world.cluster.objects["Namespace", "models"]
    else:
        metadata = run.world.cluster.objects["Namespace", "models"]["metadata"]
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    with running.locked_if_there(run, "uninstall") as session:  # type: ignore[arg-type]  # a stand-in
        assert session is run  # type: ignore[comparison-overlap]  # a stand-in
    assert run.events == []


def test_a_run_that_changes_nothing_only_looks_at_the_lock(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    wall = run.world.clock.wall
    monkeypatch.setattr(running, "wall_clock", wall)
    monkeypatch.setattr(running, "current_holder", lambda cluster: current_holder(cluster, wall))
    running.raise_if_locked(run)  # type: ignore[arg-type]  # a stand-in
    assert run.world.cluster.writes == 0
    run.world.holding("bob", host="far")
    with pytest.raises(LockedError, match="bob@far pid 10"):
        running.raise_if_locked(run)  # type: ignore[arg-type]  # a stand-in
    assert run.world.cluster.writes == 1


@dataclass
class Task:
    """Stands for a future of Prefect's."""

    outcome: Any

    def result(self, *, raise_on_failure: bool = True) -> Any:
        if raise_on_failure and isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def test_one_models_trouble_does_not_hide_how_the_others_fare(monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    monkeypatch.setattr(running, "say", said.append)
    monkeypatch.setattr(running, "as_completed", reversed)
    other = ClusterUnavailableError("no answer")
    futures: Any = [Task(1), Task(FAILED), Task(other), Task(2)]
    with pytest.raises(CompletionError):
        running.results(futures)
    assert said == ["failed: no answer", "failed: qwen: the answer has no text"]
    good: Any = [Task(1), Task(2)]
    assert running.results(good) == [1, 2]


@dataclass
class Opened:
    """Stands for a session whose API may not answer; notes whether it became patient.

    `shown`: whose artifacts the run made its own.
    """

    silent: bool = False
    patience: bool = False
    shown: list[str] = field(default_factory=list)
    clock: StoppableClock = field(default_factory=StoppableClock)
    settings: Any = field(default_factory=lambda: SimpleNamespace(namespace="models"))

    @property
    def cluster(self) -> Any:
        return SimpleNamespace(get=self.get)

    def get(self, kind: str, name: str) -> None:
        assert (kind, name) == ("Namespace", "models")
        if self.silent:
            raise ClusterUnavailableError("no answer")

    def patient(self, _say: object) -> Opened:
        self.patience = True
        return self


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    found = Opened()
    monkeypatch.setattr(running, "load_settings", lambda **_: Settings())
    monkeypatch.setattr(running, "_say_where", lambda: None)
    monkeypatch.setattr(running, "show_for", found.shown.append)
    monkeypatch.setattr(running, "Session", SimpleNamespace(open=lambda *_: found))
    return found


def test_what_a_run_shows_is_of_its_namespace(opened: Opened):
    with running.session_for():
        pass
    assert opened.shown == ["vllm"]


def test_an_address_where_nobody_answers_fails_at_once(opened: Opened):
    opened.silent = True
    with pytest.raises(ClusterUnavailableError), running.session_for():
        pass
    assert not opened.patience


@pytest.mark.parametrize("error", [FAILED, KeyboardInterrupt()])
def test_a_run_that_ends_badly_wakes_every_task_that_waits(opened: Opened, error: BaseException):
    with running.session_for() as session:
        assert opened.patience
    session.clock.sleep(0)
    with pytest.raises(type(error)), running.session_for():
        raise error
    with pytest.raises(StoppedError):
        session.clock.sleep(1000)


def test_a_form_that_asks_a_charts_folder_for_another_version_is_refused(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(running, "load_settings", load_settings)
    Path("Chart.yaml").write_text("version: 0.1.12\n")
    asked = {"chart": ".", "chart_version": "0.1.9"}
    with pytest.raises(ConfigurationError), running.session_for(**asked):
        pass
    assert not opened.patience


@pytest.mark.parametrize(
    ("given", "name"), [({}, "update-vllm"), ({"namespace": "n", "model": "m"}, "update-n-m")]
)
def test_a_run_is_named_for_what_it_works_on(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], name: str
):
    monkeypatch.setattr(running, "flow_run", SimpleNamespace(flow_name="update", parameters=given))
    assert running.run_name() == name
