"""The sandbox's Hub as a process, and the weights program as one, on a volume of the test's own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from sandbox.hub.access import TOKEN_VARIABLE
from vllm_flows.weights_order import File, Order
from vllm_flows.weights_program import PROGRAM_NAME, weights_archive

REPOSITORY = "Qwen/Qwen2.5-7B-Instruct"
_RATE = 4_000_000
"""Bytes per second of each download. For some milliseconds after a kill the Hub still sends, and
counts, what nobody takes: at this rate that is little."""
_START_SECONDS = 30


@dataclass(frozen=True)
class Program:
    """A Hub, an empty volume, and an order for the program."""

    port: int
    order: Order
    environment: dict[str, str]
    command: tuple[str, ...]

    def start(self) -> subprocess.Popen[bytes]:
        """Start the program."""
        return subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def sent(self) -> int:
        """Return how many bytes the Hub has sent so far."""
        return int(ask(self.port, "/_sandbox/requests").get("bytes", 0))

    def last_word(self) -> dict[str, object]:
        """Return what the program left in its termination log."""
        found: dict[str, object] = json.loads(Path(self.environment["TERMINATION_LOG"]).read_text())
        return found

    def hashes(self) -> dict[str, str]:
        """Return name -> SHA-256 of what the engine would read."""
        snapshot = self.order.folder / "snapshots" / self.order.commit
        return {path.name: sha256(path.read_bytes()).hexdigest() for path in snapshot.iterdir()}


def ask(port: int, path: str) -> dict[str, int]:
    """Return the JSON document that the Hub has at a path."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        found: dict[str, int] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return found


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve the sample repositories; return the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    command = [sys.executable, "-m", "sandbox.hub", "--port", str(port)]
    command += ["--data", str(tmp_path_factory.mktemp("hub")), "--rate", str(_RATE)]
    root, environ = Path(__file__).parents[3], os.environ | {TOKEN_VARIABLE: "hf_granted"}
    with subprocess.Popen([*command, "--log-level", "critical"], cwd=root, env=environ) as process:
        wait_for_answer(port)
        yield port
        process.terminate()


def wait_for_answer(port: int) -> None:
    """Return once the Hub answers."""
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            ask(port, "/_sandbox/requests")
        except ConnectionError:
            assert time.monotonic() < until, "the Hub does not answer"
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def program(hub: int, tmp_path: Path) -> Program:
    """Order a repository of some 24 MB."""
    endpoint = f"http://127.0.0.1:{hub}"
    info = HfApi(endpoint=endpoint, token=False).model_info(REPOSITORY, files_metadata=True)
    assert info.sha
    assert info.siblings
    files = tuple(
        File(
            each.rfilename,
            each.size or 0,
            each.lfs.sha256 if each.lfs else None,
            each.blob_id or "",
        )
        for each in info.siblings
    )
    listed = tmp_path / "files.json"
    listed.write_text(json.dumps([asdict(file) for file in files]))
    cache = tmp_path / "volume"
    cache.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "WEIGHTS_REPOSITORY": REPOSITORY,
        "WEIGHTS_COMMIT": info.sha,
        "WEIGHTS_FILES": str(listed),
        "WEIGHTS_AT_ONCE": "2",
        "TERMINATION_LOG": str(tmp_path / "termination-log"),
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_CACHE": str(cache),
        "HF_ENDPOINT": endpoint,
    }
    archive = tmp_path / PROGRAM_NAME
    archive.write_bytes(weights_archive())
    command = (sys.executable, str(archive))
    return Program(hub, Order(REPOSITORY, info.sha, files, cache), environment, command)
