"""Decisions about an update of one model, and stand-ins for what a whole run of it asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from flows import update
from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    Tasks,
    a_model,
    aim,
    serving,
)
from vllm_flows.drift import Drift
from vllm_flows.models import Model
from vllm_flows.observed import ClusterState, Verdict
from vllm_flows.planning import Decision, decide_update
from vllm_flows.session import Session
from vllm_flows.update_policy import May
from vllm_flows.waiting import StoppableClock

BOTH = (a_model("a"), a_model("b"))
SETTINGS = aim(*BOTH).settings


def session(tasks: Any = None) -> Any:
    found = Session(SETTINGS, cast("Any", None), cast("Any", tasks), StoppableClock())
    object.__setattr__(found, "refusal", lambda: None)
    return found


def decided(
    state: ClusterState,
    commit: str = NEW,
    announced: str | None = None,
    model: Model = BOTH[0],
    **fields: Any,
) -> Decision:
    verdict = replace(aim(model, commit=commit).verdicts["a"], **fields)
    return decide_update(session(), model, verdict, state, announced)


LATER = "d" * 40
SERVING = serving(aim(*BOTH, commit=OLD))


def killed_after_helm(**claim: Any) -> ClusterState:
    """Return a cluster in which the commit runs, and the one before was the last to answer."""
    begun = serving(aim(*BOTH))
    before = {"served": (OLD,), "answered": SERVING.claims["a"].answered, **claim}
    return replace(begun, claims={**begun.claims, "a": replace(begun.claims["a"], **before)})


OUTSIDE = (Drift("Deployment", "vllm-a-deployment-vllm", ("spec.template.x: 1 -> 2",)),)


def changed_since(how: str) -> ClusterState:
    """Return what a killed update left, and somebody changed meanwhile."""
    state = killed_after_helm(complete={NEW: 1})
    if how == "template":
        return replace(state, drifts=OUTSIDE)
    if how == "volume":
        claim = replace(state.claims["a"], leaving=True)
        return replace(state, claims={**state.claims, "a": claim})
    replicas = {"scaled": 2, "stopped": 0}[how]
    deployed = replace(state.deployments["a"], replicas=replicas, ready=replicas)
    return replace(state, deployments={**state.deployments, "a": deployed})


@dataclass
class Trial:
    """Stands for the tasks of a trial: notes what is done; may fail."""

    tasks: Tasks
    failing: Exception | None = None
    refused: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def tried(self, _session: object, model: Any, served: str, commit: str) -> Iterator[str]:
        assert (served, commit) == (OLD, NEW)
        self.tasks.done.append(f"try {model.name}")
        try:
            yield "trial"
        finally:
            self.tasks.done.append("trial ends")

    def wait(self, *_: object) -> float:
        if self.failing:
            raise self.failing
        return 1.0

    def compare(self, _session: object, model: Any) -> None:
        self.tasks.done.append(f"compare {model.name}")

    def refuse(self, _session: object, _claim: object, commit: str, why: str) -> None:
        self.refused[commit] = why


def a_verdict(model: str) -> Verdict:
    return aim(a_model(model)).verdicts[model]


@dataclass
class Word:
    """Stands for the one who is asked: notes the question, may change the world, and answers."""

    answer: May = May.ASK
    asked: list[str] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None

    def permitted(self, _session: object, model: Any, run: Decision, news: Any) -> May:
        self.asked.append(f"{model.name} {news.change}: {', '.join(news.reasons)}")
        assert run.plan.steps
        self.meanwhile()
        return self.answer


def listing(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Let models.yaml say this of the model from now on."""
    monkeypatch.setattr(update, "load_models", lambda _: [a_model("a", **fields)])
