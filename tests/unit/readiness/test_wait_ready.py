"""How long a Deployment is waited for."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tasks import readiness
from tests.support import VirtualClock
from vllm_flows.errors import TimedOutError

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
    with pytest.raises(TimedOutError):
        readiness.wait_ready.fn(session, "q", "vllm-q-deployment-vllm", budget)
    assert clock.time == waited
