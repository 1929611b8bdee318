"""What is counted, and what is left running, when the block that is measured ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import outage as asking

RUN: ContextVar[str] = ContextVar("RUN", default="none")


@dataclass
class FakeModel:
    """Stands for a session and for the API of a model that never answers; a question takes 1 s."""

    time: float = 0.0
    answering: bool = False
    runs: set[str] = field(default_factory=set)
    third: threading.Event = field(default_factory=threading.Event)

    @property
    def clock(self) -> Any:
        return SimpleNamespace(now=lambda: self.time)

    @contextmanager
    def models_api(self, _model: str) -> Iterator[FakeModel]:
        yield self

    def way_is_open(self) -> bool:
        return True

    def alive(self, _model: str) -> bool:
        self.answering = True
        self.runs.add(RUN.get())
        self.time += 1
        if self.time >= 3:
            self.third.set()
            threading.Event().wait(0.05)  # the block ends while this question is under way
        self.answering = False
        return False


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    monkeypatch.setattr(asking, "_EVERY_SECONDS", 0)
    return FakeModel()


def measure(model: FakeModel) -> float:
    """Return the seconds of silence of a block that ends during the third question, or later."""
    with asking.measured(model, ["qwen"]) as outages:  # type: ignore[arg-type]  # as much of a session as is used
        assert model.third.wait(5)
    return outages["qwen"].seconds


def test_silence_that_lasts_to_the_end_counts_to_the_end(model: FakeModel):
    assert measure(model) == model.time


def test_afterwards_nobody_asks_any_more(model: FakeModel):
    measure(model)
    assert not model.answering
    assert "outage qwen" not in {thread.name for thread in threading.enumerate()}


def test_what_is_said_meanwhile_finds_its_run(model: FakeModel):
    token = RUN.set("this one")
    measure(model)
    RUN.reset(token)
    assert model.runs == {"this one"}
