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
from vllm_flows.outage import Heard, Outage
from vllm_flows.session import Session

ANSWER, SILENCE, NOT_ASKED = Heard.ANSWER, Heard.SILENCE, Heard.NOT_ASKED


def outage_of(*heard: tuple[float, Heard]) -> Outage:
    outage = Outage()
    for now, what in heard:
        outage.hear(now, what)
    return outage


@pytest.mark.parametrize(
    ("heard", "seconds"),
    [
        ([(0, ANSWER), (1, ANSWER)], 0),
        ([(0, ANSWER), (1, SILENCE), (2, SILENCE), (3.5, ANSWER), (9, ANSWER)], 2.5),
        ([(0, SILENCE), (2, ANSWER), (3, SILENCE), (4, ANSWER)], 3),
    ],
)
def test_silence_lasts_from_a_question_without_an_answer_to_the_next_with_one(
    heard: list[tuple[float, Heard]], seconds: float
):
    outage = outage_of(*heard)
    assert outage.seconds == seconds
    assert outage.not_measured == ""


def test_time_in_which_nobody_could_ask_is_not_silence_and_is_named():
    outage = outage_of((0, ANSWER), (1, NOT_ASKED), (2, NOT_ASKED), (61, ANSWER), (70, ANSWER))
    assert outage.seconds == 0
    assert outage.not_measured == "not measured for 1 min 0 s: the API server did not answer"


def test_silence_before_and_after_what_was_not_measured_counts():
    outage = outage_of((0, SILENCE), (2, NOT_ASKED), (12, SILENCE), (15, ANSWER))
    assert (outage.seconds, outage.not_measured_seconds) == (5, 10)


@dataclass
class FakeModel:
    """Stands for a session and for the model's API: a script of answers, a second apart.

    False is a question that the model does not answer; "away" is one that an API server which does
    not answer lets nobody ask; "locked" one for which it does not even hand out the API key.
    """

    script: list[bool | str]
    time: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)
    open: bool = True

    @property
    def clock(self) -> Any:
        return SimpleNamespace(now=lambda: self.time)

    @contextmanager
    def models_api(self, _model: str) -> Iterator[FakeModel]:
        if self.script and self.script[0] == "locked":
            self.script.pop(0)
            self.time += 1
            raise ClusterUnavailableError("cannot read Secret vllm-api-key")
        yield self

    def alive(self, _model: str) -> bool:
        answer = self.script.pop(0) if self.script else True
        self.time += 1
        self.open = answer != "away"
        if not self.script:
            self.over.set()
        return answer is True

    def way_is_open(self) -> bool:
        return self.open


@pytest.mark.parametrize(
    ("script", "seconds", "not_measured"),
    [
        ([True] * 5 + [False] + [True] * 2, 1, 0),
        ([True, True, False, False, False, True], 3, 0),
        ([True] * 6, 0, 0),
        ([True, False, "away", "away", True, True], 1, 2),
        ([True, "away", "locked", "locked", False, True], 1, 3),
    ],
)
def test_only_the_time_without_an_answer_is_counted(
    monkeypatch: pytest.MonkeyPatch, script: list[bool | str], seconds: float, not_measured: float
):
    monkeypatch.setattr(asking, "_EVERY_SECONDS", 0)
    model = FakeModel(script)
    with asking.measured(model, ["qwen"]) as outages:  # type: ignore[arg-type]  # as much of a session as is used
        model.over.wait(5)
    outage = outages["qwen"]
    assert (outage.seconds, outage.not_measured_seconds) == (seconds, not_measured)


@dataclass(frozen=True)
class FakeCluster:
    """An API server that answers or does not; waiting for it would be patience."""

    answers: bool
    inside: bool = False
    read_seconds: float = 30.0
    patience: str | None = "three minutes"

    def get(self, kind: str, name: str) -> dict[str, Any]:
        assert (kind, name, self.patience) == ("Namespace", "ns", None)
        assert self.read_seconds < 10
        if not self.answers:
            raise ClusterUnavailableError("cannot read Namespace ns")
        return {}


@pytest.mark.parametrize(
    ("cluster", "router_url", "is_open"),
    [
        (FakeCluster(answers=True), "", True),
        (FakeCluster(answers=False), "", False),
        (FakeCluster(answers=False, inside=True), "", True),
        (FakeCluster(answers=False), "http://models.example", True),
    ],
)
def test_only_a_port_forward_needs_the_api_server(
    cluster: Any,
    router_url: str,
    is_open: bool,  # noqa: FBT001 -- a column of the table
):
    settings: Any = SimpleNamespace(namespace="ns", router_url=router_url)
    unused: Any = None
    assert Session(settings, cluster, unused, unused).way_is_open() == is_open
