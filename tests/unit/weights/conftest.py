"""The sandbox's Hub on 127.0.0.1, and the Job's program run against it as in its container."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from sandbox.hub.app import Hub, build_app
from sandbox.hub.repository import Commit, Store
from sandbox.hub.samples import SAMPLES
from vllm_flows import weights_job

TOKEN = "hf_granted"
REPOSITORIES = {
    "open": "microsoft/Phi-4-mini-instruct",
    "tagged": "Qwen/Qwen3-4B",
    "gated": "meta-llama/Llama-3.2-3B-Instruct",
}


@dataclass
class Result:
    """How the program ended and what it said."""

    code: int
    said: dict[str, Any]
    lines: list[str]
    errors: str


@dataclass
class Volume:
    """An empty volume, the program's files, and the Hub that the program asks."""

    url: str
    hub: Hub
    folder: Path

    def commit(self, name: str, revision: str = "main") -> Commit:
        found = self.hub.store.repositories[REPOSITORIES[name]].find(revision)
        assert found
        return found

    def order(self, name: str, revision: str = "main") -> weights_job.Order:
        commit = self.commit(name, revision)
        files = [
            {"name": file.path, "size": file.size, "sha256": file.sha256}
            for file in commit.files.values()
        ]
        return weights_job.Order(REPOSITORIES[name], commit.sha, files, self.folder / "hub")

    def run(self, order: weights_job.Order, token: str | None = None) -> Result:
        files, log = self.folder / "files.json", self.folder / "termination-log"
        files.write_text(json.dumps(order.files))
        log.write_text("")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "WEIGHTS_REPOSITORY": order.repository,
            "WEIGHTS_COMMIT": order.commit,
            "WEIGHTS_FILES": str(files),
            "TERMINATION_LOG": str(log),
            "HF_HUB_CACHE": str(order.cache),
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **({"HF_TOKEN": token} if token else {}),
        }
        done = subprocess.run(
            [sys.executable, weights_job.__file__],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = json.loads(log.read_text() or "{}")
        return Result(done.returncode, said, done.stdout.splitlines(), done.stderr)


@pytest.fixture(scope="session")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Hub]]:
    small = [
        replace(sample, shards=(1, 1)[: len(sample.shards)])
        for sample in SAMPLES
        if sample.repo_id in REPOSITORIES.values()
    ]
    hub = Hub(Store(tmp_path_factory.mktemp("hub"), small), TOKEN)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_app(hub), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", hub
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def volume(_served: tuple[str, Hub], tmp_path: Path) -> Iterator[Volume]:
    url, hub = _served
    yield Volume(url, hub, tmp_path)
    hub.failures.clear()
    hub.rate = None
