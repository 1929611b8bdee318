"""Three models that are checked, and who answers for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from vllm_flows import health_checking
from vllm_flows.completions import NotYetError
from vllm_flows.health import (
    Checked,
    State,
)
from vllm_flows.health_checking import Outcome
from vllm_flows.health_of_model import OfModel
from vllm_flows.models import Model
from vllm_flows.settings import Settings
from vllm_flows.waiting import StoppableClock

MODELS = [Model(name=name, model_url=f"org/{name}") for name in ("a", "b", "c")]


class Router:
    """The API that all models share; it may answer nobody."""

    def __init__(self, *listed: str, there: bool = True) -> None:
        self.names, self.there = listed, there

    def is_there(self) -> bool:
        return self.there

    def listed(self) -> list[Any]:
        if not self.there:
            raise NotYetError("no answer")
        return [SimpleNamespace(name=name) for name in self.names]


def session_with(router: Router, clock: Any = None) -> Any:
    @contextmanager
    def models_api(_: str = "") -> Iterator[Router]:
        yield router

    return SimpleNamespace(
        clock=clock or StoppableClock(),
        shared_api=True,
        models_api=models_api,
        api_key=lambda: None,
        way_is_open=lambda: True,
        settings=Settings(),
    )


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], OfModel]) -> None:
    monkeypatch.setattr(health_checking, "check_model", lambda _a, _s, model: answer(model.name))


def well(name: str) -> OfModel:
    return OfModel(Checked(name, ready=1, wanted=1, seconds=1.0))


def states(outcome: Outcome) -> dict[str, State]:
    return {one.name: one.state for one in outcome.health.checked}
