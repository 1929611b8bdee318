"""A stand-in for a model's API on 127.0.0.1, that answers as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

CHUNKS = [
    {"model": "qwen", "choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"model": "qwen", "choices": [{"delta": {"content": "Paris"}}]},
    {"model": "qwen", "choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"model": "qwen", "choices": [], "usage": {"completion_tokens": 1}},
]
GOOD: dict[str, Any] = {
    "/v1/models": {"object": "list", "data": [{"id": "qwen"}]},
    "/v1/completions": {"model": "qwen", "choices": [{"text": " Paris"}]},
    "/v1/chat/completions": b"".join(b"data: %s\n\n" % json.dumps(c).encode() for c in CHUNKS)
    + b"data: [DONE]\n\n",
    "stream": b'data: {"model": "qwen", "choices": [{"text": " Paris"}]}\n\ndata: [DONE]\n\n',
}


@dataclass
class FakeApi:
    """What it answers by path (a streamed completion by "stream"), and what it was asked.

    An answer is bytes or what becomes JSON; in a tuple before it stands a status, or "cut" (the
    connection breaks before its end), "stalled" (its end does not come) or "held" (nothing comes).
    """

    replies: dict[str, Any]
    key: str | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    address: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)

    def reply(self, path: str, key: str | None, *, stream: bool) -> tuple[int | str, bytes]:
        """Return status (or what happens instead) and body; no key, no answer, as with vLLM."""
        if self.key and key != f"Bearer {self.key}":
            return 401, b'{"error": "Unauthorized"}'
        told = self.replies["stream" if stream and path == "/v1/completions" else path]
        status, body = told if isinstance(told, tuple) else (200, told)
        return status, body if isinstance(body, bytes) else json.dumps(body).encode()

    @property
    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [each["path"] for each in self.asked]


def handler_of(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    """Return what serves `api`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self.answer({})

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, asked: dict[str, Any]) -> None:
            key = self.headers.get("Authorization")
            api.asked.append({"path": self.path, "key": key, **asked})
            status, body = api.reply(self.path, key, stream=bool(asked.get("stream")))
            self.close_connection = isinstance(status, str)
            if status == "held":
                api.stopping.wait(10)
                return
            self.send_response(status if isinstance(status, int) else 200)
            self.send_header("Content-Length", str(len(body) + isinstance(status, str)))
            self.end_headers()
            self.wfile.write(body)
            if status == "stalled":
                api.stopping.wait(10)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


class Server(ThreadingHTTPServer):
    """A server that takes no offence at who hangs up."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(api: FakeApi) -> Iterator[FakeApi]:
    """Serve it while the block runs."""
    with Server(("127.0.0.1", 0), handler_of(api)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        api.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield api
        finally:
            api.stopping.set()
            server.shutdown()
            thread.join()


Serve = Callable[..., FakeApi]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers: `serve({path: answer}, key=…)`; the paths that are not told are good."""
    with ExitStack() as stack:

        def start(told: dict[str, Any] | None = None, key: str | None = None) -> FakeApi:
            return stack.enter_context(serving(FakeApi(GOOD | (told or {}), key)))

        yield start
