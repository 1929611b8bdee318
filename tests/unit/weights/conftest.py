"""The sandbox's Hub on 127.0.0.1, and the Job's program run against it as in its container."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from sandbox.hub.app import Hub, build_app
from sandbox.hub.faults import Fault, FaultKind
from sandbox.hub.repository import Commit, Store
from sandbox.hub.samples import SAMPLES
from vllm_flows.weights_order import File, Order
from vllm_flows.weights_program import PROGRAM_NAME, weights_archive

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

    @property
    def bytes(self) -> int:
        """How many bytes the Hub has sent, to whomever."""
        return self.hub.requests["bytes"]

    def commit(self, name: str, revision: str = "main") -> Commit:
        found = self.hub.store.repositories[REPOSITORIES[name]].find(revision)
        assert found
        return found

    def order(self, name: str, revision: str = "main") -> Order:
        commit = self.commit(name, revision)
        files = tuple(
            File(file.path, file.size, file.sha256, file.blob_id) for file in commit.files.values()
        )
        return Order(REPOSITORIES[name], commit.sha, files, self.folder / "hub", at_once=2)

    def spoil(self, kind: FaultKind, count: int = 1, **how: Any) -> None:
        """Let the next downloads of weights go wrong."""
        self.hub.faults += [Fault(kind, **{"path": ".safetensors", **how})] * count

    @property
    def command(self) -> list[str]:
        """What the Job runs: the archive, by a Python that has huggingface_hub."""
        archive = self.folder / PROGRAM_NAME
        archive.write_bytes(weights_archive())
        return [sys.executable, str(archive)]

    def environment(self, order: Order) -> dict[str, str]:
        files = self.folder / "files.json"
        files.write_text(json.dumps([asdict(file) for file in order.files]))
        (self.folder / "termination-log").write_text("")
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "WEIGHTS_REPOSITORY": order.repository,
            "WEIGHTS_COMMIT": order.commit,
            "WEIGHTS_FILES": str(files),
            "WEIGHTS_AT_ONCE": str(order.at_once),
            "WEIGHTS_XET": str(int(order.xet)),
            "WEIGHTS_KEEP": " ".join(order.keep),
            "WEIGHTS_BEFORE": order.before,
            "WEIGHTS_BUDGET": str(order.budget),
            "WEIGHTS_RECHECK": order.recheck,
            "WEIGHTS_STALL_SECONDS": "0.2",
            "WEIGHTS_RETRY_SECONDS": "0.01",
            "TERMINATION_LOG": str(self.folder / "termination-log"),
            "HF_HOME": str(self.folder / "home"),
            "HF_HUB_CACHE": str(order.cache),
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_TOKEN": order.token,
        }

    def run(self, order: Order, token: str = "") -> Result:
        """Run the program as a process of its own."""
        done = subprocess.run(
            self.command,
            env=self.environment(replace(order, token=token)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        said = json.loads((self.folder / "termination-log").read_text() or "{}")
        return Result(done.returncode, said, done.stdout.splitlines(), done.stderr)

    def is_right(self, order: Order) -> bool:
        """Compare what the engine would read with what the Hub has, byte for byte."""
        snapshot = order.folder / "snapshots" / order.commit
        repository = self.hub.store.repositories[order.repository]
        commit = repository.find(order.commit)
        assert commit
        return all(
            sha256((snapshot / file.name).read_bytes()).digest()
            == sha256(commit.files[file.name].location.read_bytes()).digest()
            for file in order.files
        )


@pytest.fixture(scope="session")
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Hub]]:
    small = [
        replace(sample, shards=(1, 1)[: len(sample.shards)])
        for sample in SAMPLES
        if sample.repo_id in REPOSITORIES.values()
    ]
    hub = Hub(Store(tmp_path_factory.mktemp("hub"), small), TOKEN)
    listener = socket.create_server(("127.0.0.1", 0))
    # A download that is cut off on purpose is an error to uvicorn.
    config = uvicorn.Config(build_app(hub), log_level="critical", timeout_graceful_shutdown=1)
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
    hub.faults.clear()
    hub.rate = None


@pytest.fixture
def reached(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> Volume:
    """Return the volume, its Hub also for a test that calls the program's functions itself."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", volume.url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        volume.url + "/{repo_id}/resolve/{revision}/{filename}",
    )
    return volume
