"""For how long nobody answered: the arithmetic, and the thread that asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import outage as asking
from vllm_flows.errors import ClusterUnavailableError
from vllm_flows.outage import Outage


@pytest.mark.parametrize(
    ("heard", "seconds"),
    [
        ([(0, True), (1, True)], 0),
        ([(0, True), (1, False), (2, False), (3.5, True), (9, True)], 2.5),
        ([(0, False), (2, True), (3, False), (4, True)], 3),
    ],
)
def test_silence_lasts_from_a_question_without_an_answer_to_the_next_with_one(
    heard: list[tuple[float, bool]], seconds: float
):
    outage = Outage()
    for now, answered in heard:
        outage.hear(now, answered=answered)
    assert outage.seconds == seconds


@dataclass
class FakeModel:
    """Stands for a session and for the model's API: a script of answers, a second apart."""

    script: list[bool | None]
    time: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def clock(self) -> Any:
        return SimpleNamespace(now=lambda: self.time)

    @contextmanager
    def models_api(self, _model: str) -> Iterator[FakeModel]:
        if self.script and self.script[0] is None:
            self.script.pop(0)
            self.time += 1
            raise ClusterUnavailableError("no ready pod")
        yield self

    def alive(self, _model: str) -> bool:
        answer = self.script.pop(0) if self.script else True
        self.time += 1
        if not self.script:
            self.over.set()
        return bool(answer)


@pytest.mark.parametrize(
    ("script", "seconds"),
    [
        ([True] * 5 + [False] + [True] * 2, 1),
        ([True, True, False, None, None, True], 3),
        ([True] * 6, 0),
    ],
)
def test_only_the_time_without_an_answer_is_counted(
    monkeypatch: pytest.MonkeyPatch, script: list[bool | None], seconds: float
):
    monkeypatch.setattr(asking, "_EVERY_SECONDS", 0)
    model = FakeModel(script)
    with asking.measured(model, ["qwen"]) as outages:  # type: ignore[arg-type]  # as much of a session as is used
        model.over.wait(5)
    assert outages["qwen"].seconds == seconds
