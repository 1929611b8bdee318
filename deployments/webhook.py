"""The receiver of the Hub's webhooks: a small HTTP server, and the thread that looks.

Answers come at once and looks come after, one at a time; several webhooks about one repository
that arrive meanwhile are one look. A connection has a few seconds for everything, its body a
bound, and is closed after its answer. Of many at once the oldest that asks nothing gives way to
who comes: a caller who dawdles or repeats himself costs next to nothing, and keeps nobody out.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from vllm_flows.errors import VllmFlowsError
from vllm_flows.models import Model
from vllm_flows.webhook_rules import LARGEST_BODY, Judgement, judge, refusal, replayed, too_large

CONNECTION_SECONDS = 15.0
_LARGEST_HEAD = 16 * 1024
_CONNECTIONS = 64
_REMEMBERED = 1000
_LAST_LOOK_SECONDS = 60.0


@dataclass
class Looks:
    """The looks that are due, done one after the other by a thread of their own.

    `look` is told a repository and says whether the Hub told all that was asked. Only then are the
    webhooks that led to it remembered as seen.
    """

    look: Callable[[str], bool]
    _due: dict[str, set[str]] = field(default_factory=dict)
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _over: bool = False
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look; the thread keeps no process from ending."""
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Begin no other look, and give the one at work a minute to end."""
        with self._news:
            self._over = True
            self._news.notify()
        if self._thread:
            self._thread.join(_LAST_LOOK_SECONDS)

    def add(self, repository: str, mark: str) -> bool:
        """Ask for a look for a webhook's sake; False when it led to one that is over."""
        with self._news:
            if mark in self._seen:
                return False
            self._due.setdefault(repository, set()).add(mark)
            self._news.notify()
        return True

    def _work(self) -> None:
        while (due := self._next()) is not None:
            repository, marks = due
            if self.look(repository):
                with self._news:
                    self._seen.update(dict.fromkeys(marks))
                    while len(self._seen) > _REMEMBERED:
                        self._seen.popitem(last=False)

    def _next(self) -> tuple[str, set[str]] | None:
        with self._news:
            self._news.wait_for(lambda: self._due or self._over)
            if self._over:
                return None
            repository = next(iter(self._due))
            return repository, self._due.pop(repository)


@dataclass(frozen=True)
class Receiver:
    """What the server's routes do; `models` reads models.yaml as it is now."""

    secret: str = field(repr=False)
    models: Callable[[], Sequence[Model]]
    looks: Looks

    async def health(self, _request: Request) -> Response:
        """Answer that it is there."""
        return JSONResponse({"status": "ok"})

    async def webhook(self, request: Request) -> Response:
        """Take a webhook; what it leads to comes after the answer."""
        judgement = refusal(request.headers, self.secret)
        if judgement is None:
            body = await _body(request)
            judgement = too_large() if body is None else await self._judged(body)
        return JSONResponse({"message": judgement.text}, judgement.status, {"Connection": "close"})

    async def _judged(self, body: bytes) -> Judgement:
        try:
            models = await asyncio.to_thread(self.models)
        except VllmFlowsError as error:
            text = f"models.yaml cannot be used: {error.what}"
            return Judgement(HTTPStatus.SERVICE_UNAVAILABLE, text)
        found = judge(body, models)
        mark = hashlib.sha256(body).hexdigest()
        if found.repository and not self.looks.add(found.repository, mark):
            return replayed()
        return found


async def _body(request: Request) -> bytes | None:
    """Read the body; None when it is longer than its bound, whatever its head says."""
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > LARGEST_BODY:
                return None
    except ClientDisconnect:
        return b""
    return body


def build_app(receiver: Receiver) -> Starlette:
    """Return the ASGI application: `POST /webhook` and `GET /health`, and nothing else."""
    return Starlette(
        routes=[
            Route("/webhook", receiver.webhook, methods=["POST"]),
            Route("/health", receiver.health, methods=["GET"]),
        ]
    )


def server_of(receiver: Receiver, seconds: float = CONNECTION_SECONDS) -> uvicorn.Server:
    """Return the server; no connection lasts longer than so many seconds.

    uvicorn itself waits for ever for the end of a request that has begun, and with a
    `limit_concurrency` it refuses everybody while others are connected and ask nothing.
    """
    there: dict[Hurried, None] = {}

    class Hurried(H11Protocol):
        """A connection that ends when its time is over, or others need its place."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base does
            super().connection_made(transport)
            self.deadline = self.loop.call_later(seconds, transport.abort)
            if len(there) >= _CONNECTIONS:
                oldest = next((one for one in there if one.asks_nothing), next(iter(there)))
                there.pop(oldest)
                oldest.transport.abort()
            there[self] = None

        def connection_lost(self, exc: Exception | None) -> None:
            there.pop(self, None)
            self.deadline.cancel()
            super().connection_lost(exc)

        @property
        def asks_nothing(self) -> bool:
            """Say whether no request is being answered."""
            return not self.cycle or self.cycle.response_complete

    config: dict[str, Any] = {
        "http": Hurried,
        "ws": "none",
        "lifespan": "off",
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "h11_max_incomplete_event_size": _LARGEST_HEAD,
        "timeout_graceful_shutdown": 5,
    }
    return uvicorn.Server(uvicorn.Config(build_app(receiver), **config))


def serve_webhooks(receiver: Receiver, listener: socket.socket) -> None:
    """Serve until a signal ends it, and let a look that is at work come to its end."""
    receiver.looks.start()
    try:
        server_of(receiver).run(sockets=[listener])
    finally:
        receiver.looks.end()
