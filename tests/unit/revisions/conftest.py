"""The sandbox's Hub on 127.0.0.1, and a fake of the cluster that serves a model of it."""

from __future__ import annotations

import copy
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn

from sandbox.hub.app import Hub as SandboxHub
from sandbox.hub.app import build_app
from sandbox.hub.repository import Store
from sandbox.hub.samples import SAMPLES
from tests.support import VirtualClock
from vllm_flows.errors import ConflictError
from vllm_flows.holding import held
from vllm_flows.hub import Hub
from vllm_flows.looking_at_revisions import Look, look_at_revisions
from vllm_flows.models import Model
from vllm_flows.observed import (
    MODEL_LABEL,
    REFUSED_ANNOTATION,
    REQUESTED_ANNOTATION,
    REVISION_ANNOTATION,
    SERVED_ANNOTATION,
    WEIGHTS_ANNOTATION,
)
from vllm_flows.revision_memory import Seen
from vllm_flows.session import Session
from vllm_flows.settings import load_settings

SMALL = "microsoft/Phi-4-mini-instruct"
TAGGED = "Qwen/Qwen3-4B"
HELD: dict[str, Any] = dict(held({"spec": {}})["spec"])


@dataclass
class LocalHub:
    """The sandbox's Hub, listening."""

    url: str
    server: SandboxHub

    def commit(self, kind: str, repository: str = SMALL, **more: object) -> str:
        body = {"repo": repository, "kind": kind, **more}
        answer = httpx.post(f"{self.url}/_sandbox/commit", json=body)
        return str(answer.raise_for_status().json()["sha"])

    def choose(self, **choices: object) -> None:
        body = {"repo": SMALL, **choices}
        httpx.post(f"{self.url}/_sandbox/repository", json=body).raise_for_status()

    def head(self, repository: str = SMALL) -> str:
        return self.server.store.repositories[repository].head.sha


@dataclass
class Place:
    """A fake: as much of a cluster and a session as a look needs."""

    hub_url: str
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    version: int = 0
    meanwhile: list[Mapping[str, Any]] = field(default_factory=list)
    clock: VirtualClock = field(default_factory=VirtualClock)

    @property
    def cluster(self) -> Place:
        return self

    def identity(self) -> str:
        return "this cluster"

    def hub(self) -> Hub:
        return Hub(self.hub_url, "hf_granted", "this test", clock=self.clock)

    def serve(
        self,
        commit: str,
        name: str = "m",
        repository: str = SMALL,
        word: str = "",
        *,
        answered: str = "",
        held: bool = False,
    ) -> None:
        """Serve a commit; its claim knows it as models.yaml's `word` and has no record of it.

        The claim says that the commit `answered` last. `held`: older pods are kept beside it.
        """
        template = {
            "metadata": {"annotations": {REVISION_ANNOTATION: commit}},
            "spec": {"containers": [{"command": ["vllm", "serve", repository]}]},
        }
        self.objects["Deployment", name] = {
            "metadata": {"name": name, "labels": {"model": name}},
            "spec": {"replicas": 1, "template": template, **(HELD if held else {})},
        }
        self.objects["PersistentVolumeClaim", name] = {
            "metadata": {
                "name": name,
                "labels": {MODEL_LABEL: name},
                "annotations": {REQUESTED_ANNOTATION: word, SERVED_ANNOTATION: answered},
            },
            "spec": {"resources": {"requests": {"storage": "1Gi"}}},
        }

    def record(self, text: str, name: str = "m") -> None:
        """Let the claim have a record of its commits."""
        claim = self.objects["PersistentVolumeClaim", name]
        claim["metadata"]["annotations"][WEIGHTS_ANNOTATION] = text

    def refuse(self, commit: str, why: str, name: str = "m") -> None:
        """Let the claim know of a commit that did not do."""
        claim = self.objects["PersistentVolumeClaim", name]
        claim["metadata"]["annotations"][REFUSED_ANNOTATION] = json.dumps({commit: why})

    def find(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Find all of a kind, or of them those that have a label of the selector's name."""
        found = [copy.deepcopy(one) for (there, _), one in self.objects.items() if there == kind]
        if not selector or "=" in selector:
            return found
        return [one for one in found if selector in one["metadata"].get("labels", {})]

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get((kind, name)))

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        if (body["kind"], body["metadata"]["name"]) in self.objects:
            raise ConflictError("already exists")
        return self._store(copy.deepcopy(dict(body)))

    def merge(self, kind: str, name: str, fields: Mapping[str, Any]) -> None:
        if self.meanwhile:
            self._store({**self.objects[kind, name], "data": dict(self.meanwhile.pop())})
        body = copy.deepcopy(self.objects[kind, name])
        if fields["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"]:
            raise ConflictError("the object has been modified")
        body["data"].update(fields["data"])
        body["data"] = {key: text for key, text in body["data"].items() if text is not None}
        self._store(body)

    def delete(self, kind: str, name: str) -> bool:
        return self.objects.pop((kind, name), None) is not None

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.objects[body["kind"], body["metadata"]["name"]] = body
        return body

    @property
    def session(self) -> Session:
        self.settings = load_settings(hub_endpoint=self.hub_url)
        return cast("Session", self)

    def look(self, *models: Model, repository: str = "") -> Look:
        return look_at_revisions(self.session, models or [tracked()], repository)

    def sees(self, *models: Model) -> Seen:
        (seen,) = self.look(*models).seen
        return seen


def tracked(name: str = "m", repository: str = SMALL, **fields: object) -> Model:
    """Return a model of models.yaml."""
    return Model.model_validate({"name": name, "modelURL": repository, **fields})


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    samples = [replace(one, shards=(1,)) for one in SAMPLES if one.repo_id in {SMALL, TAGGED}]
    server = SandboxHub(Store(tmp_path, samples), "hf_granted")
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_app(server), log_level="warning", lifespan="off")
    web = uvicorn.Server(config)
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
    thread.start()
    yield LocalHub(f"http://127.0.0.1:{listener.getsockname()[1]}", server)
    web.should_exit = web.force_exit = True  # the client's connections stay open
    thread.join()
    listener.close()


@pytest.fixture
def place(hub: LocalHub) -> Place:
    """Return a cluster that serves what is at main."""
    made = Place(hub.url)
    made.serve(hub.head(), word="main")
    return made
