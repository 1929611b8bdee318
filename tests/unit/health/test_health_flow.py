"""The flow `health`: in which order it remembers and tells, and what it says of repairs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from flows import health as flow
from vllm_flows.errors import ClusterError, LockedError, LockLostError
from vllm_flows.health import ROUTER, Checked, Finding, Health, Kind
from vllm_flows.health_checking import Outcome
from vllm_flows.health_events import Change
from vllm_flows.health_looking import Look
from vllm_flows.health_memory import Memory
from vllm_flows.models import Model

MODELS = [Model(name=name, model_url=f"org/{name}") for name in ("a", "b")]


def silent(name: str) -> Checked:
    return Checked(name, (Finding(Kind.SILENT, "no byte", replica=f"{name}-1"),))


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": f"{name}-1"}, "spec": {"nodeName": f"node-of-{name}"}}


OUTCOME = Outcome(
    Health(1000.0, 1.0, (silent("a"), silent("b"))),
    {"a": Memory(told="green"), "b": Memory(told="green")},
    Look(pods={"a": [pod("a")], "b": [pod("b")]}),
)


class Run:
    """What a run does, in its order; `repairs` are what comes of mending each model."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, ...]] = []
        self.repairs: dict[str, Exception] = {}
        self.lock: Exception | None = None

    def remember(self, _session: object, _outcome: object, told: list[Change], **_: object) -> None:
        self.steps.append(("remember", *(one.checked.name for one in told)))

    def tell(self, told: list[Change]) -> None:
        self.steps.append(("tell", *(one.checked.name for one in told)))

    def mend(self, _session: object, model: Model | None, _repair: object) -> None:
        name = model.name if model else "none"
        self.steps.append(("mend", name))
        if name in self.repairs:
            raise self.repairs[name]

    @contextmanager
    def locked(self, session: object, _: str) -> Iterator[object]:
        if self.lock:
            raise self.lock
        yield session


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    @contextmanager
    def session_for(**_: object) -> Iterator[object]:
        settings = SimpleNamespace(timezone="UTC", namespace="ns", models_file="")
        yield SimpleNamespace(measured={}, settings=settings)

    found = Run()
    for name, stand_in in {
        "session_for": session_for,
        "chosen": lambda *_: MODELS,
        "check": lambda *_, **__: OUTCOME,
        "show": lambda *_: None,
        "say": lambda *_: None,
        "remember": found.remember,
        "tell": found.tell,
        "mend": found.mend,
        "locked": found.locked,
    }.items():
        monkeypatch.setattr(flow, name, stand_in)
    return found


def test_what_was_seen_is_remembered_before_it_is_told_and_that_it_was_told_after(run: Run):
    flow.health.fn()
    assert run.steps == [("remember",), ("tell", "a", "b"), ("remember", "a", "b")]


def test_a_repair_that_fails_concerns_no_other(run: Run):
    run.repairs["a"] = ClusterError("it would not go")
    found = flow.health.fn(repair=True)
    assert found.repairs == (
        "a: not repaired: it would not go",
        "b: pod b-1 was ended, another takes its place",
    )
    assert found.mended == ("b",)


def test_who_loses_the_lock_repairs_nothing_more(run: Run):
    run.repairs["b"] = LockLostError("somebody else has the lock", next_command="wait")
    found = flow.health.fn(repair=True)
    assert found.repairs == (
        "a: pod a-1 was ended, another takes its place",
        "b: left alone: somebody else has the lock",
    )


def test_a_router_is_repaired_though_it_is_no_model(run: Run, monkeypatch: pytest.MonkeyPatch):
    key = Finding(Kind.OTHER_KEY, "another key", replica="r-1")
    router: Any = {"metadata": {"name": "r-1"}, "spec": {"nodeName": "n"}}
    outcome = Outcome(
        Health(1000.0, 1.0, (Checked(ROUTER, (key,)),)),
        {"_router": Memory(told="green")},
        Look(router_pods=[router]),
    )
    monkeypatch.setattr(flow, "check", lambda *_, **__: outcome)
    found = flow.health.fn(repair=True)
    assert found.repairs == ("(router): pod r-1 was ended, another takes its place",)
    assert ("mend", "none") in run.steps


def test_without_the_lock_nothing_is_repaired(run: Run):
    run.lock = LockedError("held by a deploy", next_command="wait")
    found = flow.health.fn(repair=True)
    assert ("mend", "a") not in run.steps
    assert [one.partition(": ")[2] for one in found.repairs] == ["left alone: held by a deploy"] * 2
