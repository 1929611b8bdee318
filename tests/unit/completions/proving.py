"""A session that proves models, with replicas that answer as a test lets them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import VirtualClock
from vllm_flows.completions import Answer, Limits, ModelsApi
from vllm_flows.credentials import Credential
from vllm_flows.errors import (
    ClusterUnavailableError,
    CompletionError,
)
from vllm_flows.models import Model
from vllm_flows.proof import prove_model
from vllm_flows.replicas import Replica

if TYPE_CHECKING:
    from conftest import FakeApi

LIST, COMPLETION, CHAT = "/v1/models", "/v1/completions", "/v1/chat/completions"
EMPTY = {"model": "qwen", "choices": [{"text": ""}]}
SOON = 0.3
"""Seconds without a byte that are silence here, and that a busy machine does not reach."""
NO_TEMPLATE = (400, b"... default chat template is no longer allowed, so you must ...")


@dataclass
class FakeSession:
    """Replicas by pod name; the API server may be away, or slow, when it is asked for them."""

    router: FakeApi
    replicas: dict[str, FakeApi] = field(default_factory=dict)
    others: dict[str, FakeApi] = field(default_factory=dict)
    """Those of the model `other`."""
    clock: VirtualClock = field(default_factory=VirtualClock)
    settings: Any = field(
        default_factory=lambda: SimpleNamespace(namespace="ns", router_enabled=True, router_url="")
    )
    shared_api: bool = True
    away: list[float] = field(default_factory=list)
    """For each time that it is asked: how many seconds it takes to fail or, if 0, not to."""
    slow: list[float] = field(default_factory=list)
    """For each time that it is asked: how many seconds it takes to answer."""
    ending: int = 0
    """Pods of before that still answer."""
    byte: float = 5.0
    """Seconds of silence after which the model's API is given up."""
    marks: dict[str, str] = field(default_factory=dict)
    """By pod the mark of its key."""
    mark: str | None = "of-key-4"
    """The mark of the key that is stored; None when another was given."""
    given: Credential | None = None
    """The key at hand."""
    ready_since: str = ""
    at_work: bool = False
    """Whether another run is."""
    log: str = ""
    """What the routers wrote."""
    looked: list[float] = field(default_factory=list)
    """When it was asked who the routers are."""
    open_way: bool = True
    """Whether the API server, through which questions go, answers."""

    def way_is_open(self) -> bool:
        return self.open_way

    def ready_replicas(self, model: str) -> list[Replica]:
        assert model == "qwen"
        self.clock.time += self.slow.pop(0) if self.slow else 0.0
        if self.away and (seconds := self.away.pop(0)):
            self.clock.sleep(seconds)
            raise ClusterUnavailableError("cannot list pods")
        return [self.replica(pod) for pod in self.replicas]

    def replica(self, pod: str) -> Replica:
        return Replica(pod, f"ip-of-{pod}", self.marks.get(pod, ""), self.ready_since)

    def engine_replicas(self) -> dict[str, list[Replica]]:
        named = {"qwen": self.replicas, "other": self.others}
        return {model: [self.replica(pod) for pod in pods] for model, pods in named.items()}

    def another_at_work(self) -> bool:
        return self.at_work

    def router_replicas(self) -> list[Replica]:
        self.looked.append(self.clock.time)
        return [self.replica("router-1")] if self.marks else []

    @property
    def cluster(self) -> Any:
        def log(pod: str, container: str, _lines: int) -> str:
            assert (pod, container) == ("router-1", "router-container")
            return self.log

        return SimpleNamespace(log=log)

    def key_mark(self) -> str | None:
        return self.mark

    def api_key(self) -> Credential | None:
        return self.given

    def is_alone(self, model: str) -> bool:
        assert model == "qwen"
        return len(self.replicas) + self.ending <= 1

    @contextmanager
    def replica_api(self, replica: Replica, api_key: str | None) -> Iterator[ModelsApi]:
        pods = {"router-1": self.router, **self.replicas, **self.others}
        address, limits = pods[replica.pod].address, Limits(5.0, self.byte, self.byte)
        with ModelsApi.at(address, api_key, direct=True, limits=limits) as api:
            yield api


def qwen(**fields: object) -> Model:
    return Model.model_validate({"name": "qwen", "modelURL": "a/b", **fields})


def prove(session: FakeSession, key: str | None = None, **fields: object) -> Answer:
    limits = Limits(5, session.byte, 5)
    with ModelsApi.at(session.router.address, key, limits=limits) as api:
        return prove_model(api, session, qwen(**fields), say=lambda _: None)  # type: ignore[arg-type]  # a stand-in


def failure(session: FakeSession, key: str | None = None, **fields: object) -> CompletionError:
    with pytest.raises(CompletionError) as caught:
        prove(session, key, **fields)
    return caught.value
