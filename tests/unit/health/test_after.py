"""A model that was just changed, beside what a check saw of it before."""

from __future__ import annotations

import time
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.engine import faults
from sandbox.engine.faults import Fault
from tests.support import VirtualClock
from tests.unit.health.remembering import Remembering
from vllm_flows import health_after, health_speed
from vllm_flows.errors import ClusterError, CompletionError
from vllm_flows.health_after import compared
from vllm_flows.health_looking import Look
from vllm_flows.health_memory import Baseline, Memory
from vllm_flows.health_router import Counts
from vllm_flows.health_shapes import Shape
from vllm_flows.health_speed import Speed
from vllm_flows.models import Model
from vllm_flows.names import engine_deployment

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from conftest import FakeSession

    from vllm_flows.completions import ModelsApi
    from vllm_flows.replicas import Replica

MODEL = Model(name="qwen", model_url="org/qwen")
BEFORE = "a-digest@0123456789ab"
BROUGHT = "c-digest@0123456789ab"
"""By a run that was killed before it was compared."""
POD: Any = {
    "metadata": {"name": "pod-1", "labels": {"model": "qwen"}},
    "status": {
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


MARK = {"vllm-flows.io/config-digest": "b-digest"}
POD["metadata"]["annotations"] = MARK
DEPLOYMENT: Any = {"spec": {"template": {"metadata": {"annotations": MARK}}}}
OLDER: Any = {
    "metadata": {"name": "older", "labels": {"model": "qwen"}},
    "status": {**POD["status"], "podIP": "10.0.0.9"},
}
"""It serves beside the new one, and is not the one that is to be measured."""
AFTER = "b-digest@ba9876543210"
DEPLOYED: Any = {"qwen": SimpleNamespace(configuration=AFTER)}


class Passing(VirtualClock):
    """A clock that goes by itself, and skips what is slept."""

    def now(self) -> float:
        return super().now() + time.monotonic()


@pytest.fixture
def asking(session: FakeSession, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what asks the model after its change; its baseline is 1 ms to the first token."""
    given: Any = session
    given.clock = Passing()
    given.api_key = lambda: SimpleNamespace(value="a-key")
    given.cluster = Remembering({})
    monkeypatch.setattr("vllm_flows.health_beside.router_counts", lambda *_: Counts())

    def ask(digest: str = BEFORE, shape: Shape | None = None) -> str:
        shapes = {"text": shape} if shape else {}
        known = Memory(baseline=Baseline(digest, Speed(0.001, 1000.0, 0.001), shapes))
        seen = Look(
            deployed=DEPLOYED,
            pods={"qwen": [OLDER, POD]},
            deployments={engine_deployment("qwen"): DEPLOYMENT},
            memories={"qwen": known},
        )
        monkeypatch.setattr(health_after, "look", lambda *_: seen)
        return compared(given, MODEL, (BROUGHT, BEFORE))

    return ask


def test_answers_that_are_as_fast_as_before_are_said_with_both_speeds(asking: Any):
    said = asking()
    assert said.startswith("no slower than before: first token after ")
    assert "(was 0.001 s)" in said
    assert "tokens per second (were 1e+03)" in said


def test_what_no_check_measured_is_compared_with_nothing(asking: Any):
    assert "nothing to compare with" in asking("another@0123456789ab")


def test_a_model_that_answers_far_more_slowly_is_worse(
    asking: Any, served: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(faults.SLOW_SECONDS, Fault.SLOW_TOKENS, 0.005)
    monkeypatch.setattr(health_speed, "_NOTICED_TOKEN_SECONDS", 0.002)
    served.engine.fault = Fault.SLOW_TOKENS
    with pytest.raises(CompletionError, match=r"worse than before: .*tokens per second") as caught:
        asking()
    assert caught.value.model == "qwen"
    assert "logs" in caught.value.next_command


def test_an_answer_that_is_no_text_is_worse(asking: Any, served: Any):
    served.engine.fault = Fault.RUBBISH
    with pytest.raises(CompletionError, match="worse than before"):
        asking()


@pytest.mark.parametrize("before", [BEFORE, "another@0123456789ab"], ids=["compared", "alone"])
def test_what_was_measured_is_what_later_answers_are_compared_with(
    asking: Any, session: Any, before: str
):
    asking(before)
    kept = session.cluster.memories()["qwen"].baseline
    assert kept.digest == AFTER
    assert kept.shapes.keys() == {"text", "json"}
    assert kept.speed.rate


@pytest.mark.parametrize("fault", [Fault.RUBBISH, Fault.SILENT])
def test_what_answers_badly_is_no_measure_for_others(
    asking: Any, session: Any, served: Any, fault: Fault
):
    served.engine.fault = fault
    with suppress(CompletionError):
        asking()
    with suppress(CompletionError):
        asking("another@0123456789ab")
    assert session.cluster.memories() == {}


def test_what_could_not_be_kept_is_said_and_no_failure(asking: Any, session: Any):
    session.cluster = Remembering(error=ClusterError("no right"))
    assert asking().endswith("; what was measured is not remembered: no right")


def test_other_weights_may_say_it_in_another_form(asking: Any):
    assert "no slower" in asking(shape=Shape(length=3, variety=2, junk=0))


def test_a_model_that_could_not_be_asked_is_not_called_worse(asking: Any, served: Any):
    served.engine.fault = Fault.SILENT
    assert "could not be compared with what served before" in asking()


def test_older_replicas_that_serve_beside_the_new_one_are_not_measured(
    asking: Any, session: FakeSession, monkeypatch: pytest.MonkeyPatch
):
    asked, reach = set(), session.replica_api

    def noted(replica: Replica, key: str | None) -> AbstractContextManager[ModelsApi]:
        asked.add(replica.pod)
        return reach(replica, key)

    monkeypatch.setattr(session, "replica_api", noted)
    asking()
    assert asked == {"pod-1"}
