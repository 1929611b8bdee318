"""The sandbox's engine on 127.0.0.1, which becomes bad when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from sandbox.engine.app import Engine, build_app
from sandbox.engine.model import LoadedModel
from tests.support import VirtualClock
from vllm_flows import health_checking
from vllm_flows.completions import Limits, ModelsApi
from vllm_flows.health import HUB, RELEASE, Checked
from vllm_flows.health_beside import BesideTold
from vllm_flows.health_hub_asking import Told
from vllm_flows.health_looking import Look
from vllm_flows.health_router import Counts
from vllm_flows.health_volumes import Looked
from vllm_flows.replicas import Replica

KEY = "a-key"


@dataclass
class Served:
    """An engine that serves the model `qwen`, and its address."""

    engine: Engine
    address: str = ""

    @contextmanager
    def api(self, key: str | None = KEY, *, direct: bool = True) -> Iterator[ModelsApi]:
        """Reach it; who is silent for a moment is silent."""
        with ModelsApi.at(self.address, key, direct=direct, limits=Limits(1.0, 0.8, 5.0)) as api:
            yield api


@contextmanager
def serving(served: Served) -> Iterator[Served]:
    """Serve it while the block runs."""
    config = uvicorn.Config(build_app(served.engine), port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    served.address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.should_exit = server.force_exit = True
        thread.join(2)


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve a model that is well."""
    model = LoadedModel("org/qwen", "a" * 40, 4096, 1)
    with serving(Served(Engine(model, ["qwen"], [KEY], 0.0))) as made:
        yield made


@dataclass
class FakeSession:
    """The ways to one model: its router is the engine, and so is each replica."""

    served: Served
    clock: VirtualClock = field(default_factory=VirtualClock)
    shared_api: bool = True
    open: bool = True
    unrouted: bool = False
    mark: str = "of-the-key"
    routed_key: str = KEY
    own_key: str = KEY
    """What comes to the engine, as if it knew another one."""
    replicas: list[Replica] = field(default_factory=list)
    routers: list[Replica] = field(default_factory=list)
    settings: Any = field(default_factory=lambda: SimpleNamespace(namespace="ns", router_url=""))

    def api_key(self) -> None:
        """There is none of the environment."""

    def key_mark(self) -> str:
        return self.mark

    def ready_replicas(self, _: str) -> list[Replica]:
        return self.replicas

    def router_replicas(self) -> list[Replica]:
        return self.routers

    def way_is_open(self) -> bool:
        return self.open

    @contextmanager
    def models_api(self, _: str = "") -> Iterator[ModelsApi]:
        with self.served.api(self.routed_key, direct=False) as api:
            yield api

    @contextmanager
    def replica_api(self, _: Replica, key: str | None) -> Iterator[ModelsApi]:
        with self.served.api(key and self.own_key) as api:
            yield api


@pytest.fixture
def session(served: Served) -> FakeSession:
    return FakeSession(served)


@pytest.fixture
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked beside the models, and all is well there."""
    told = BesideTold(Looked(), Told({}, Checked(HUB)), {}, Checked(RELEASE))
    monkeypatch.setattr(health_checking, "look", lambda *_: Look())
    monkeypatch.setattr("vllm_flows.health_beside.begin", lambda *_, **__: None)
    monkeypatch.setattr("vllm_flows.health_beside.end", lambda *_: told)
    monkeypatch.setattr("vllm_flows.health_beside.router_counts", lambda *_: Counts())
