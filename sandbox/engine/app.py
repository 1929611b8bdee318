"""The HTTP interface of the simulated engine: vLLM's OpenAI-compatible API, in part.

Beside it, plainly named and open to all: POST /_sandbox/fault {"fault": "silent", "after": N} makes
the model bad in one of the ways of `sandbox/engine/faults.py` once N more requests were answered
(default: at once); the empty fault makes it well.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.engine import text
from sandbox.engine.faults import Fault, delay, names_under, spoilt
from sandbox.engine.metrics import Metrics
from sandbox.engine.model import LoadedModel
from sandbox.engine.requests import BadRequestError, Completion, read_completion

VERSION = "0.32.0+sandbox"


@dataclass
class Engine:
    """What one engine serves, and its routes' handlers.

    `names` are the ids that clients use, the first is the one in answers. With `api_keys`
    every /v1 route wants one of them. `spared` requests are still answered well, whatever `fault`.
    """

    model: LoadedModel
    names: list[str]
    api_keys: list[str]
    token_seconds: float
    fault: Fault = Fault.NONE
    spared: int = 0
    metrics: Metrics = field(init=False)

    def __post_init__(self) -> None:
        self.metrics = Metrics(self.names[0])
        # One that goes by another name from its start knows no other.
        if self.model.fault != Fault.WRONG_ID:
            self.fault = self.fault or Fault(self.model.fault)
        self.started = int(time.time())

    async def health(self, _request: Request) -> Response:
        """Answer 200: the server starts after the model is loaded."""
        return Response()

    async def version(self, _request: Request) -> Response:
        """Tell vLLM's version, marked as the sandbox's."""
        return JSONResponse({"version": VERSION})

    async def show_metrics(self, _request: Request) -> Response:
        """Show the counters."""
        return PlainTextResponse(self.metrics.render())

    async def spoil(self, request: Request) -> Response:
        """Make the model bad from now on, or well again."""
        body = await request.json()
        try:
            self.fault, self.spared = Fault(body["fault"]), int(body.get("after", 0))
        except (KeyError, TypeError, ValueError) as error:
            raise BadRequestError(400, f"no such fault: {error}", "BadRequestError") from error
        return JSONResponse({"fault": self.fault, "after": self.spared})

    def fault_now(self) -> Fault:
        """Return what is wrong with the request that has just come."""
        if self.spared:
            self.spared -= 1
            return Fault.NONE
        return self.fault

    async def models(self, _request: Request) -> Response:
        """List the ids under which the model answers."""
        data = [
            {
                "id": name,
                "object": "model",
                "created": self.started,
                "owned_by": "vllm",
                "root": self.model.source,
                "parent": None,
                "max_model_len": self.model.max_model_len,
            }
            for name in self.names
        ]
        return JSONResponse({"object": "list", "data": data})

    async def complete(self, request: Request) -> Response:
        """Answer POST /v1/completions."""
        return await self._answer(request, chat=False)

    async def chat(self, request: Request) -> Response:
        """Answer POST /v1/chat/completions."""
        return await self._answer(request, chat=True)

    async def _answer(self, request: Request, *, chat: bool) -> Response:
        wanted = read_completion(
            await request.body(), chat=chat, names=self.names, longest=self.model.max_model_len
        )
        fault = self.fault_now()
        if fault is Fault.SILENT:
            await asyncio.Event().wait()
        if wanted.stream:
            return StreamingResponse(self._stream(wanted, fault), media_type="text/event-stream")
        answer = "".join([token async for token in self._generate(wanted, fault)])
        return JSONResponse(self._document(wanted, answer, fault))

    async def _generate(self, wanted: Completion, fault: Fault) -> AsyncIterator[str]:
        begun = time.monotonic()
        self.metrics.running += 1
        self.metrics.prompt_tokens += text.count_tokens(wanted.prompt)
        try:
            tokens = text.answer(
                self.names[0],
                self.model.revision,
                wanted.prompt,
                max_tokens=0 if fault is Fault.EMPTY else wanted.max_tokens,
                endless=wanted.endless,
            )
            for index, token in enumerate(tokens):
                await asyncio.sleep(self.token_seconds + delay(fault, index))
                if index == 0:
                    self.metrics.first_token_seconds.append(time.monotonic() - begun)
                self.metrics.generation_tokens += 1
                yield spoilt(fault, token)
            self.metrics.finished += 1
        finally:
            self.metrics.running -= 1

    async def _stream(self, wanted: Completion, fault: Fault) -> AsyncIterator[str]:
        head = _head(wanted, fault, chunk=True)
        count = 0
        async for token in self._generate(wanted, fault):
            count += 1
            yield _event({**head, "choices": [_delta(wanted, token, None)]})
        yield _event({**head, "choices": [_delta(wanted, "", _reason(wanted, count))]})
        if wanted.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(wanted, count)})
        yield "data: [DONE]\n\n"

    def _document(self, wanted: Completion, answer: str, fault: Fault) -> dict[str, object]:
        count = text.count_tokens(answer)
        content: dict[str, object] = (
            {"message": {"role": "assistant", "content": answer}}
            if wanted.chat
            else {"text": answer}
        )
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": _reason(wanted, count)}
        return {
            **_head(wanted, fault, chunk=False),
            "choices": [choice],
            "usage": _usage(wanted, count),
        }


def _head(wanted: Completion, fault: Fault, *, chunk: bool) -> dict[str, object]:
    kind = "chat.completion.chunk" if chunk else "chat.completion"
    return {
        "id": f"{'chatcmpl' if wanted.chat else 'cmpl'}-{uuid.uuid4().hex}",
        "object": kind if wanted.chat else "text_completion",
        "created": int(time.time()),
        "model": names_under(fault, [wanted.model])[0],
    }


def _delta(wanted: Completion, token: str, finish_reason: str | None) -> dict[str, object]:
    content: dict[str, object] = {"delta": {"content": token}} if wanted.chat else {"text": token}
    return {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}


def _reason(wanted: Completion, count: int) -> str:
    return "length" if count >= wanted.max_tokens else "stop"


def _usage(wanted: Completion, count: int) -> dict[str, int]:
    prompt = text.count_tokens(wanted.prompt)
    return {"prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count}


def _event(document: dict[str, object]) -> str:
    return f"data: {json.dumps(document)}\n\n"


def build_app(engine: Engine) -> Starlette:
    """Return the ASGI application of this engine."""
    routes = [
        Route("/health", engine.health),
        Route("/version", engine.version),
        Route("/metrics", engine.show_metrics),
        Route("/_sandbox/fault", engine.spoil, methods=["POST"]),
        Route("/v1/models", engine.models),
        Route("/v1/completions", engine.complete, methods=["POST"]),
        Route("/v1/chat/completions", engine.chat, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={BadRequestError: _refuse})
    if engine.api_keys:
        app.add_middleware(_KeyCheck, engine=engine)
    return app


class _KeyCheck:
    """Refuses /v1 requests that carry none of the keys, unless that is the engine's fault."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self._app, self._engine = app, engine
        self._keys = [key.encode() for key in engine.api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        guarded = self._engine.fault is not Fault.KEYLESS
        if guarded and scope["type"] == "http" and scope["path"].startswith("/v1"):
            header = Request(scope).headers.get("Authorization", "")
            given = header.removeprefix("Bearer ").encode()
            if not any(secrets.compare_digest(given, key) for key in self._keys):
                await JSONResponse({"error": "Unauthorized"}, 401)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequestError)  # noqa: S101 -- registered for this class alone
    return JSONResponse(error.document(), error.status)
