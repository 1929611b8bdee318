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
from vllm_flows.errors import ClusterError, ClusterUnavailableError, NoRightError
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
    assert outage.not_measured == (
        "not measured for 1 min 0 s: the API server did not answer, or this run stood still"
    )


def test_a_run_that_stood_still_knows_nothing_of_the_model_meanwhile():
    outage = outage_of((0, ANSWER), (1, SILENCE), (61, SILENCE), (66, ANSWER))
    assert (outage.seconds, outage.not_measured_seconds) == (5, 60)


def test_silence_before_and_after_what_was_not_measured_counts():
    outage = outage_of((0, SILENCE), (2, NOT_ASKED), (12, SILENCE), (15, ANSWER))
    assert (outage.seconds, outage.not_measured_seconds) == (5, 10)


@dataclass
class FakeModel:
    """Stands for a session and for the model's API: a script of answers, a second apart.

    From second `away[0]` to `away[1]` the API server does not answer: no question reaches the
    model, and with `key` it hands out no API key either.
    """

    script: list[bool]
    away: tuple[int, int] = (0, 0)
    key: bool = False
    time: float = 0.0
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def clock(self) -> Any:
        return SimpleNamespace(now=lambda: self.time)

    @property
    def _is_away(self) -> bool:
        return self.away[0] <= self.time < self.away[1]

    @contextmanager
    def models_api(self, _model: str) -> Iterator[FakeModel]:
        if self.key and self._is_away:
            self.time += 1
            raise ClusterUnavailableError("cannot read Secret vllm-api-key")
        yield self

    def alive(self, _model: str) -> bool:
        answer = False
        if not self._is_away:
            answer = self.script.pop(0) if self.script else True
        self.time += 1
        if not self.script:
            self.over.set()
        return answer

    def way_is_open(self) -> bool:
        if self._is_away:
            self.time += 1
            return False
        return True


@pytest.mark.parametrize(
    ("model", "seconds", "not_measured"),
    [
        (FakeModel([True] * 5 + [False] * 2 + [True] * 2), 2, 0),
        (FakeModel([True, True, False, False, False, True]), 2, 0),
        (FakeModel([True] * 6), 0, 0),
        (FakeModel([True, True, True], away=(2, 9)), 0, 7),
        (FakeModel([True, False, False, False, False, True], away=(5, 9)), 2, 6),
        (FakeModel([True, True], away=(0, 9), key=True), 0, 9),
    ],
)
def test_only_the_time_without_an_answer_is_counted(
    monkeypatch: pytest.MonkeyPatch, model: FakeModel, seconds: float, not_measured: float
):
    monkeypatch.setattr(asking, "_EVERY_SECONDS", 0)
    with asking.measured(model, ["qwen"]) as outages:  # type: ignore[arg-type]  # as much of a session as is used
        model.over.wait(5)
    outage = outages["qwen"]
    assert (outage.seconds, outage.not_measured_seconds) == (seconds, not_measured)


def test_a_question_that_ended_with_one_of_several_pods_is_nobodys_silence(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(asking, "_EVERY_SECONDS", 0)
    model = FakeModel([True, False, True, False, True, True])
    with asking.measured(model, ["qwen"]) as outages:  # type: ignore[arg-type]  # as much of a session as is used
        model.over.wait(5)
    assert outages["qwen"].seconds == 0


def test_every_question_that_could_be_asked_is_counted_also_the_second_of_two(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(asking, "_EVERY_SECONDS", 0)
    model = FakeModel([True, False, True, True, True], away=(5, 9))
    with asking.measured(model, ["qwen"]) as outages:  # type: ignore[arg-type]  # as much of a session as is used
        model.over.wait(5)
    told = outages["qwen"].load
    assert outages["qwen"].lost == 1
    assert "requests while it changed 1 was lost; 1 s at most; not measured for" in told


@pytest.mark.parametrize(("lost", "told"), [(0, "none was"), (1, "1 was"), (50, "50 were")])
def test_how_many_requests_were_lost_is_told_as_people_say_it(lost: int, told: str):
    found = Outage(asked=57, lost=lost, slowest=0.2).load
    assert found == f"of 57 requests while it changed {told} lost; 0.2 s at most"
    assert Outage().load == ""


def test_an_outage_knows_whether_it_lasted_to_the_end():
    silent = outage_of((0, ANSWER), (1, SILENCE))
    silent.end(4)
    answering = outage_of((0, SILENCE), (1, ANSWER))
    answering.end(4)
    assert (silent.seconds, silent.lasting) == (3, True)
    assert (answering.seconds, answering.lasting) == (1, False)


AWAY = ClusterUnavailableError("cannot read Namespace ns")


@dataclass(frozen=True)
class FakeCluster:
    """An API server, asked without patience."""

    error: ClusterError | None = None
    inside: bool = False
    read_seconds: float = 30.0
    patience: str | None = "three minutes"

    def get(self, kind: str, name: str) -> dict[str, Any]:
        assert (kind, name, self.patience) == ("Namespace", "ns", None)
        assert self.read_seconds < 10
        if self.error:
            raise self.error
        return {}


@pytest.mark.parametrize(
    ("cluster", "router_url", "is_open"),
    [
        (FakeCluster(), "", True),
        (FakeCluster(NoRightError("no right to read Namespace ns")), "", True),
        (FakeCluster(AWAY), "", False),
        (FakeCluster(AWAY, inside=True), "", True),
        (FakeCluster(AWAY), "http://models.example", True),
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
