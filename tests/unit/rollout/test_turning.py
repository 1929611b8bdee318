"""How a Deployment goes on whose newer pods were set aside for another template."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flows import overlapping, waits
from flows.overlapping import Overlap
from vllm_flows.errors import StoppedError, TimedOutError
from vllm_flows.names import engine_deployment


class Steps:
    """Stands for the tasks: notes what is done; setting aside fails as `failing` says."""

    def __init__(self) -> None:
        self.failing: Exception | None = None
        self.done: list[str] = []

    def set_aside(self, _session: object, model: str, _deployment: str) -> Any:
        self.done.append(f"set aside {model}")
        return SimpleNamespace(result=lambda raise_on_failure: self.failing)  # noqa: ARG005 -- as Prefect's

    def resume(self, _session: object, deployment: str, strategy: object = None) -> None:
        assert deployment == engine_deployment("q")
        self.done.append(f"resume with {strategy or 'what helm wrote'}")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    made = Steps()
    monkeypatch.setattr(waits, "all_ended", list)
    monkeypatch.setattr(overlapping, "set_aside", SimpleNamespace(submit=made.set_aside))
    monkeypatch.setattr(overlapping, "resume", made.resume)
    monkeypatch.setattr(overlapping, "strategy_of", lambda *_: "its strategy")
    return made


def turn(steps: Steps, error: Exception | None = None) -> None:
    session: Any = None
    with Overlap(session, {"q"}).turning(["q", "not held"]):
        steps.done.append("helm")
        if error:
            raise error


def test_it_goes_on_as_helm_wrote_it(steps: Steps):
    turn(steps)
    assert steps.done == ["set aside q", "helm", "resume with what helm wrote"]


def test_it_goes_on_as_before_where_helm_fails(steps: Steps):
    with pytest.raises(StoppedError):
        turn(steps, StoppedError("interrupted"))
    assert steps.done == ["set aside q", "helm", "resume with its strategy"]


def test_it_goes_on_as_before_where_setting_aside_is_broken_off(steps: Steps):
    steps.failing = StoppedError("interrupted")
    with pytest.raises(StoppedError):
        turn(steps)
    assert steps.done == ["set aside q", "resume with its strategy"]


def test_what_could_not_be_set_aside_goes_on_before_helm_writes_another_surge(steps: Steps):
    steps.failing = TimedOutError("it was not looked at yet")
    turn(steps)
    before_helm = steps.done[: steps.done.index("helm")]
    assert before_helm == ["set aside q", "resume with its strategy"]
