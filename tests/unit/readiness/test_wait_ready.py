"""How long a Deployment is waited for."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tasks import readiness
from tests.support import VirtualClock
from vllm_flows.errors import NO_ANSWER, CompletionError, TimedOutError
from vllm_flows.models import Model

if TYPE_CHECKING:
    from conftest import Kubernetes


@pytest.mark.parametrize(
    ("limit", "budget", "waited"), [(60, 0, 60), (60, 600, 600), (600, 60, 600)]
)
def test_the_longer_of_the_limit_and_what_the_models_size_takes_counts(
    monkeypatch: pytest.MonkeyPatch,
    kubernetes: Kubernetes,
    limit: float,
    budget: float,
    waited: float,
):
    monkeypatch.setattr(readiness, "speaker", lambda _subject: lambda _text: None)
    pod = kubernetes.with_container(state={"running": {}})
    cluster = SimpleNamespace(
        get=lambda *_: kubernetes.deployment(),
        find=lambda kind, *_, **__: [pod] if kind == "Pod" else [],
        log=lambda *_, **__: "",
    )
    settings = SimpleNamespace(autoscaling=False, helm_timeout=timedelta(seconds=limit))
    clock = VirtualClock()
    session: Any = SimpleNamespace(cluster=cluster, clock=clock, settings=settings)
    with pytest.raises(TimedOutError) as caught:
        readiness.wait_ready.fn(session, "q", "vllm-q-deployment-vllm", budget)
    assert clock.time == waited
    assert caught.value.what == f"not ready after {waited // 60:.0f} min 0 s"
    assert caught.value.category == "loading"
    assert "[loading]" in caught.value.why


def test_a_wrong_answer_of_one_of_several_replicas_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch, kubernetes: Kubernetes
):
    monkeypatch.setattr(readiness, "speaker", lambda _subject: lambda _text: None)
    asked: list[str] = []

    def ask(_early: object, pods: list[Any]) -> None:
        asked.extend(pod["metadata"]["name"] for pod in pods)
        raise CompletionError("the answer has no text", model="q")

    monkeypatch.setattr(readiness.EarlyProof, "ask", ask)
    old = kubernetes.pod("old")
    old["metadata"] |= {"annotations": {"digest": "old"}}
    cluster = SimpleNamespace(
        get=lambda *_: kubernetes.deployment(wanted=2),
        find=lambda _kind, _selector: [kubernetes.pod("new"), old],
    )
    settings = SimpleNamespace(autoscaling=False, helm_timeout=timedelta(seconds=60))
    session: Any = SimpleNamespace(cluster=cluster, clock=VirtualClock(), settings=settings)
    model = Model(name="q", modelURL="org/q", replicaCount=2)
    with pytest.raises(CompletionError):
        readiness.wait_ready.fn(session, "q", "vllm-q-deployment-vllm", asked=model)
    assert asked == ["new"]


@pytest.mark.parametrize("answers", [True, False])
def test_a_trial_is_ready_once_it_has_answered_though_nothing_stands_beside_it(
    monkeypatch: pytest.MonkeyPatch, kubernetes: Kubernetes, *, answers: bool
):
    monkeypatch.setattr(readiness, "speaker", lambda _subject: lambda _text: None)
    asked: list[str] = []

    def ask(_early: object, pods: list[Any]) -> bool:
        asked.extend(pod["metadata"]["name"] for pod in pods)
        if not answers:
            raise CompletionError("the answer has no text", model="q")
        return True

    monkeypatch.setattr(readiness.EarlyProof, "ask", ask)
    pod = kubernetes.pod("trial", conditions=[{"type": "Ready", "status": "True"}])
    complete = dict.fromkeys(("updatedReplicas", "readyReplicas", "replicas"), 1)
    cluster = SimpleNamespace(
        get=lambda *_: kubernetes.deployment(**complete), find=lambda *_: [pod]
    )
    settings = SimpleNamespace(autoscaling=False, helm_timeout=timedelta(seconds=60))
    session: Any = SimpleNamespace(cluster=cluster, clock=VirtualClock(), settings=settings)
    model = Model(name="q", modelURL="org/q")
    with nullcontext() if answers else pytest.raises(CompletionError):
        readiness.wait_ready.fn(session, "q", "vllm-trial-q", beside=True, asked=model)
    assert asked == ["trial"]


def test_what_was_ready_and_gave_no_answer_is_told_from_what_still_loads(
    monkeypatch: pytest.MonkeyPatch, kubernetes: Kubernetes
):
    monkeypatch.setattr(readiness, "speaker", lambda _subject: lambda _text: None)
    monkeypatch.setattr(readiness.EarlyProof, "ask", lambda *_: False)
    loading = kubernetes.with_container(state={"running": {}})
    ready = kubernetes.pod("trial", conditions=[{"type": "Ready", "status": "True"}])
    clock = VirtualClock()
    cluster = SimpleNamespace(
        get=lambda *_: kubernetes.deployment(),
        find=lambda kind, *_, **__: [loading if clock.time < 5 else ready] if kind == "Pod" else [],
        log=lambda *_, **__: "",
    )
    settings = SimpleNamespace(autoscaling=False, helm_timeout=timedelta(seconds=20))
    session: Any = SimpleNamespace(cluster=cluster, clock=clock, settings=settings)
    with pytest.raises(TimedOutError, match="not ready after 20 s") as caught:
        readiness.wait_ready.fn(
            session, "q", "vllm-trial-q", beside=True, asked=Model(name="q", modelURL="org/q")
        )
    assert caught.value.category == NO_ANSWER
    assert caught.value.why == "ready, and does not answer yet"
