"""Which way a run takes: under the lock when anything may be written, else only asking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from flows import deploy
from tests.unit.rollout.stand_ins import a_model
from vllm_flows.errors import LockedError


@dataclass
class Flow:
    """Stands for what the flow calls: notes the order; `writes` and `changes` are the plan's."""

    writes: bool = False
    changes: bool = False
    locked_by: LockedError | None = None
    done: list[str] = field(default_factory=list)

    @contextmanager
    def locked(self, session: object, verb: str) -> Iterator[object]:
        self.done.append(f"lock for {verb}")
        yield session

    def raise_if_locked(self, _session: object) -> None:
        self.done.append("look at the lock")
        if self.locked_by:
            raise self.locked_by

    def decided(self, *_: object) -> Any:
        return SimpleNamespace(writes=self.writes, changes=self.changes)

    def brought(self, *_: object) -> list[Any]:
        self.done.append("bring")
        return []

    def asked(self, *_: object) -> list[Any]:
        self.done.append("ask")
        return []


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Flow:
    found = Flow()

    @contextmanager
    def session_for(**_: object) -> Iterator[object]:
        yield SimpleNamespace()

    for name, stand_in in {
        "session_for": session_for,
        "check_access": lambda *_: [],
        "decided": found.decided,
        "decided_again": found.decided,
        "locked": found.locked,
        "raise_if_locked": found.raise_if_locked,
        "_brought": found.brought,
        "_asked": found.asked,
        "publish": lambda *_: None,
        "say": lambda _text: None,
    }.items():
        monkeypatch.setattr(deploy, name, stand_in)
    return found


def run() -> Any:
    return deploy.deploy.fn([a_model()])


def test_a_run_that_writes_nothing_only_looks_at_the_lock(flow: Flow):
    assert not run().changed
    assert flow.done == ["look at the lock", "ask"]


def test_a_run_that_writes_nothing_does_not_ask_while_another_one_changes(flow: Flow):
    flow.locked_by = LockedError("namespace vllm is locked")
    with pytest.raises(LockedError):
        run()
    assert flow.done == ["look at the lock"]


@pytest.mark.parametrize("changes", [True, False])
def test_what_may_have_to_be_written_takes_the_lock_also_when_the_plan_changes_nothing(
    flow: Flow, *, changes: bool
):
    flow.writes, flow.changes = True, changes
    assert run().changed is changes
    assert flow.done == ["lock for deploy", "bring"]
