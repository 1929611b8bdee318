"""Hubs on 127.0.0.1: the sandbox's, and one that answers what a test tells it to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import uvicorn

from sandbox.hub.app import Hub as SandboxHub
from sandbox.hub.app import build_app
from sandbox.hub.repository import Store
from tests.support import VirtualClock
from vllm_flows.hub import Hub
from vllm_flows.observed import Verdict

TOKEN = "hf_granted"
COMMIT = "c" * 40
INFO = "/api/models/org/name/revision/main"


@dataclass
class Running:
    """The sandbox's Hub, listening."""

    url: str
    server: SandboxHub

    def ask(self, repository: str, revision: str = "main", token: str | None = None) -> Verdict:
        return Hub(self.url, token, clock=VirtualClock()).verdict("m", repository, revision)

    def problem(self, repository: str, revision: str = "main", token: str | None = None) -> str:
        (problem,) = self.ask(repository, revision, token).problems
        return str(problem)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = SandboxHub(Store(tmp_path_factory.mktemp("hub")), TOKEN)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_app(server), log_level="warning", timeout_graceful_shutdown=1)
    web = uvicorn.Server(config)
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", server)
    web.should_exit = True
    thread.join()
    listener.close()


@dataclass(frozen=True)
class Answer:
    """What the told Hub answers; a body that is no bytes goes as JSON."""

    body: object = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ToldHub:
    """A Hub that answers by the end of the path; of several answers each once, the last for ever.

    `asked` are the paths that were asked for.
    """

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    clock: VirtualClock = field(default_factory=VirtualClock)
    hanging: list[str] = field(default_factory=list)
    dripping: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def tell(self, ending: str, body: object = b"", status: int = 200, **headers: str) -> None:
        """Answer so for ever; header names are written with underscores."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.answers[ending] = [Answer(body, status, named)]

    def tell_once(self, ending: str, status: int, **headers: str) -> None:
        """Answer so the first time, and afterwards as told before."""
        before = self.answers[ending]
        self.tell(ending, status=status, **headers)
        self.answers[ending] += before

    def hang(self, ending: str) -> None:
        """Answer nothing there before the test is over."""
        self.hanging.append(ending)

    def drip(self, ending: str) -> None:
        """Answer there byte by byte, without an end before the test is over."""
        self.dripping.append(ending)

    def tell_repository(self, *files: Mapping[str, Any], **more: object) -> None:
        """Describe repository `org/name` at COMMIT, with these siblings."""
        document = {
            "_id": "0",
            "id": "org/name",
            "sha": COMMIT,
            "siblings": list(files),
            "securityRepoStatus": {"scansDone": True, "filesWithIssues": []},
            **more,
        }
        self.tell(INFO, document)

    def ask(self, token: str | None = None) -> Verdict:
        return Hub(self.url, token, clock=self.clock).verdict("m", "org/name", "main")

    def answer(self, path: str) -> Answer:
        path = path.partition("?")[0]
        self.asked.append(path)
        if path.endswith(tuple(self.hanging)):
            self.over.wait()
        for ending, answers in self.answers.items():
            if path.endswith(ending):
                return answers.pop(0) if len(answers) > 1 else answers[0]
        return Answer(status=404, headers={"X-Error-Code": "EntryNotFound"})


@pytest.fixture
def told() -> Iterator[ToldHub]:
    told = ToldHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = told.answer(self.path)
            if self.path.partition("?")[0].endswith(tuple(told.dripping)):
                self.drip()
                return
            body = answer.body
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked may not wait
                self.wfile.write(data)

        def drip(self) -> None:
            self.close_connection = True
            with suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not told.over.wait(0.01):
                    self.wfile.write(b" ")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- its base's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield told
    told.over.set()
    server.shutdown()
    server.server_close()
    thread.join()
