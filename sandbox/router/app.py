"""The HTTP interface of the simulated router."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sandbox.router.discovery import Discovery, Engine

_NOT_FORWARDED = {"host", "connection", "keep-alive", "transfer-encoding", "content-length"}
_NOT_FORWARDED |= {"upgrade", "te", "trailer", "proxy-connection", "x-request-id"}
_NOT_RETURNED = {"content-length", "content-encoding", "transfer-encoding", "connection", "server"}


@dataclass(frozen=True)
class Wanted:
    """The model that a request's body names, or why it names none."""

    model: str = ""
    error: str = ""


class Router:
    """Sends each request to the next engine that serves its model."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._turns: Counter[tuple[str, ...]] = Counter()
        self._requests: Counter[str] = Counter()
        self._errors: Counter[tuple[str, str, str]] = Counter()
        self._client: httpx.AsyncClient | None = None

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Hold the connections to the engines open while the server runs."""
        limits = httpx.Limits(max_connections=None)
        timeout = httpx.Timeout(None, connect=10.0)
        async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as client:
            self._client = client
            yield

    async def health(self, _request: Request) -> Response:
        """Answer 200 while the router runs."""
        return JSONResponse({"status": "healthy"})

    async def version(self, _request: Request) -> Response:
        """Tell the version, marked as the sandbox's."""
        return JSONResponse({"version": "0.1.12+sandbox"})

    async def models(self, _request: Request) -> Response:
        """List every model that a ready engine serves, once."""
        cards: dict[str, dict[str, Any]] = {}
        for engine in self._discovery.engines():
            for card in engine.models:
                cards.setdefault(card["id"], card)
        return JSONResponse({"object": "list", "data": list(cards.values())})

    async def engines(self, _request: Request) -> Response:
        """List the engines."""
        cards = [
            {
                "engine_id": each.identifier,
                "serving_models": [card["id"] for card in each.models],
                "created": each.since,
            }
            for each in self._discovery.engines()
        ]
        return JSONResponse(cards)

    async def metrics(self, _request: Request) -> Response:
        """Show the engines, the requests for each model and those that broke, as upstream does.

        The latter has this counter from 0.1.10 on (vllm_router/services/metrics_service).
        """
        engines = self._discovery.engines()
        lines = ["# TYPE vllm:healthy_pods_total gauge"]
        lines += [f'vllm:healthy_pods_total{{server="{each.url}"}} 1' for each in engines]
        lines.append("# TYPE vllm:num_incoming_requests_total counter")
        for model, count in sorted(self._requests.items()):
            lines.append(f"vllm:num_incoming_requests_total{{model={json.dumps(model)}}} {count}")
        lines.append("# TYPE vllm:request_errors_total counter")
        for (server, model, kind), count in sorted(self._errors.items()):
            labels = f'server="{server}",model={json.dumps(model)},error_type="{kind}"'
            lines.append(f"vllm:request_errors_total{{{labels}}} {count}")
        return PlainTextResponse("\n".join([*lines, ""]))

    async def proxy(self, request: Request) -> Response:
        """Pass a request on to an engine and its answer back, piece by piece."""
        request_id = request.headers.get("X-Request-Id") or str(uuid.uuid4())
        body = await request.body()
        wanted = read_model(body)
        if wanted.error:
            return _refuse(400, wanted.error, request_id)
        self._requests[wanted.model] += 1
        engines = [each for each in self._discovery.engines() if each.serves(wanted.model)]
        if not engines:
            return self._nobody(wanted.model, request_id)
        return await self._forward(request, body, self._next(engines), wanted.model, request_id)

    def _next(self, engines: list[Engine]) -> Engine:
        """Take turns; each set of engines has its own."""
        key = tuple(each.url for each in engines)
        self._turns[key] += 1
        return engines[(self._turns[key] - 1) % len(engines)]

    def _nobody(self, model: str, request_id: str) -> Response:
        if self._discovery.was_seen(model):
            message = f"Model '{model}' is temporarily unavailable. Please try again later."
            return _refuse(503, message, request_id)
        message = f"Model '{model}' not found. Available models can be listed at /v1/models."
        return _refuse(404, message, request_id)

    async def _forward(
        self, request: Request, body: bytes, engine: Engine, model: str, request_id: str
    ) -> Response:
        assert self._client  # noqa: S101 -- set before the first request, by the lifespan
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _NOT_FORWARDED}
        headers["X-Request-Id"] = request_id
        outgoing = self._client.build_request(
            request.method, f"{engine.url}{request.url.path}", headers=headers, content=body
        )
        try:
            answer = await self._client.send(outgoing, stream=True)
        except httpx.TransportError as error:
            self._errors[engine.url, model, type(error).__name__] += 1
            return _refuse(500, f"The engine did not answer: {type(error).__name__}", request_id)
        returned = {k: v for k, v in answer.headers.items() if k.lower() not in _NOT_RETURNED}
        return StreamingResponse(
            answer.aiter_raw(),
            answer.status_code,
            returned | {"X-Request-Id": request_id},
            background=BackgroundTask(answer.aclose),
        )


def read_model(body: bytes) -> Wanted:
    """Return the model of a request's body, or the router's words for what is wrong."""
    try:
        document = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        return Wanted(error="Invalid request: request body must be valid JSON.")
    if not isinstance(document, dict):
        return Wanted(error="Invalid request: request body must be a JSON object.")
    if document.get("model") is None:
        return Wanted(error="Invalid request: missing 'model' in request body.")
    return Wanted(model=str(document["model"]))


def _refuse(status: int, message: str, request_id: str) -> Response:
    return JSONResponse({"error": message}, status, headers={"X-Request-Id": request_id})


def build_app(router: Router) -> Starlette:
    """Return the ASGI application of this router."""
    proxied = ["/v1/completions", "/v1/chat/completions", "/v1/embeddings"]
    routes = [
        Route("/health", router.health),
        Route("/version", router.version),
        Route("/metrics", router.metrics),
        Route("/engines", router.engines),
        Route("/v1/models", router.models),
        *(Route(path, router.proxy, methods=["POST"]) for path in proxied),
    ]
    return Starlette(routes=routes, lifespan=router.lifespan)
