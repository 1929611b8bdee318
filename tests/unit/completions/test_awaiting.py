"""Waiting for models that are deployed: ready, answering, or never."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import VirtualClock
from tests.unit.completions.conftest import FakeApi, Serve
from vllm_flows.awaiting import Limit, wait_for_models
from vllm_flows.completions import Answer
from vllm_flows.errors import (
    CompletionError,
    NotDeployedError,
    NotReadyError,
    RouterError,
    TimedOutError,
)
from vllm_flows.models import Model
from vllm_flows.proof import Proof
from vllm_flows.session import Session
from vllm_flows.settings import Settings


@pytest.fixture(autouse=True)
def _no_external_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ExternalSecret has yet to make the Secret that is not there."""
    monkeypatch.setattr("vllm_flows.session.raise_if_pending", lambda *_: None)


LIMIT = Limit(30, "--timeout sets the limit")


class Clock(VirtualClock):
    """Time that passes only when somebody sleeps, and can be stopped."""

    def stop(self) -> None:
        """Nobody sleeps for real."""


def deployment(model: str = "qwen", ready: int = 1, replicas: int = 1) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"vllm-{model}-deployment-vllm",
            "namespace": "ns",
            "generation": 1,
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"model": model}},
            "template": {"metadata": {}},
        },
        "status": {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": ready,
        },
    }


class FakeCluster:
    """Deployments as they are from one look to the next; the last of them stay."""

    def __init__(self, looks: Sequence[list[Any]], pods: Sequence[Any] = ()) -> None:
        self.looks, self.pods, self.inside = list(looks), list(pods), False

    def find(self, kind: str, selector: str = "", **_: Any) -> list[Any]:
        del selector
        if kind == "Deployment":
            return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return self.pods if kind == "Pod" else []

    def get(self, kind: str, name: str) -> None:
        assert (kind, name) == ("Secret", "vllm-api-key")

    def log(self, *_: Any, **__: Any) -> str:
        return ""


def waited(
    api: FakeApi, looks: Sequence[list[Any]], *models: Model, pods: Sequence[Any] = ()
) -> tuple[dict[str, Answer | None], list[str]]:
    said: list[str] = []
    session = Session(
        Settings.model_validate({"router_url": api.address}),
        FakeCluster(looks, pods),  # type: ignore[arg-type]  # it has what is asked of it
        SimpleNamespace(),  # type: ignore[arg-type]  # helm is not asked
        Clock(),  # type: ignore[arg-type]  # likewise
    )
    return wait_for_models(session, models or [model()], LIMIT, said.append), said


def model(name: str = "qwen", **fields: object) -> Model:
    return Model.model_validate({"name": name, "modelURL": "a/b", **fields})


def test_a_model_is_waited_for_until_it_is_ready_and_answers(serve: Serve):
    answers, said = waited(serve(), [[deployment(ready=0)], [deployment()]])
    assert answers["qwen"] is not None
    assert said[:2] == ["qwen: waiting for the rollout", "qwen: ready"]
    assert said[2].startswith("qwen: answered in ")


def test_what_can_never_become_ready_ends_the_wait_with_the_diagnosis(serve: Serve):
    pod = {
        "metadata": {
            "name": "p",
            "uid": "1",
            "namespace": "ns",
            "labels": {"model": "qwen"},
            "creationTimestamp": "1",
        },
        "spec": {"nodeName": "n", "containers": [{"name": "vllm"}]},
        "status": {
            "containerStatuses": [
                {
                    "name": "vllm",
                    "ready": False,
                    "restartCount": 0,
                    "image": "nowhere/no:1",
                    "state": {"waiting": {"reason": "InvalidImageName", "message": "bad"}},
                }
            ]
        },
    }
    with pytest.raises(NotReadyError) as caught:
        waited(serve(), [[deployment(ready=0)]], pods=[pod])
    assert (caught.value.model, caught.value.exit_code) == ("qwen", 1)
    assert caught.value.next_command


def test_the_end_of_the_time_comes_with_the_diagnosis_and_the_way_to_more(serve: Serve):
    with pytest.raises(TimedOutError) as caught:
        waited(serve(), [[deployment(ready=0)]])
    assert caught.value.what == "not ready after 30 s"
    assert "[starting]" in caught.value.why
    assert "--timeout sets the limit" in caught.value.next_command
    assert caught.value.exit_code == 4


def test_a_model_that_is_ready_and_answers_wrongly_fails_at_once(serve: Serve):
    empty = {"model": "qwen", "choices": [{"text": ""}]}
    with pytest.raises(CompletionError, match="no text"):
        waited(serve({"/v1/completions": empty}), [[deployment()]])


def test_a_model_that_is_ready_and_does_not_answer_is_out_of_time_with_the_last_word(serve: Serve):
    with pytest.raises(TimedOutError, match="no completion came") as caught:
        waited(serve({"/v1/models": (503, b"busy")}), [[deployment()]])
    assert caught.value.why == "no replica is ready"


def test_a_router_that_never_knows_the_model_is_said_at_the_end_of_the_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    why = RouterError("the router knows no engine", next_command="vllm-flows router-logs")
    monkeypatch.setattr(Proof, "unknown", lambda _: why)
    with pytest.raises(TimedOutError, match="no completion came") as caught:
        waited(serve({"/v1/models": (503, b"busy")}), [[deployment()]])
    assert (caught.value.why, caught.value.next_command) == (why.what, why.next_command)


def test_a_model_that_answers_no_prompts_is_only_waited_for(serve: Serve):
    api = serve()
    embeds = model("bge", vllmConfig={"runner": "pooling"})
    answers, said = waited(api, [[deployment("bge")]], embeds)
    assert (answers, said, api.asked) == ({"bge": None}, ["bge: ready"], [])


def test_a_model_that_was_scaled_to_nothing_never_answers(serve: Serve):
    with pytest.raises(NotReadyError, match="scaled to no replicas"):
        waited(serve(), [[deployment(ready=0, replicas=0)]])


def test_a_model_that_goes_away_meanwhile_ends_the_wait(serve: Serve):
    with pytest.raises(NotDeployedError):
        waited(serve(), [[deployment(ready=0)], []])
