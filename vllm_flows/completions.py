"""The adapter to the models' own API (OpenAI's, as vLLM serves it); imports httpx."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import httpx

from vllm_flows import completion_checks as checks
from vllm_flows.errors import CompletionError, VllmFlowsError
from vllm_flows.models import SmokeTest
from vllm_flows.overlap import requests_in
from vllm_flows.sizes import human_seconds

_MAX_TOKENS = 16
_LONGEST_BODY_BYTES = 4 * 1024 * 1024
_TRY_LATER = {429, 500, 502, 503, 504}
_NOT_FOUND = 404
_FORBIDDEN = 403
_REFUSED = {401, _FORBIDDEN}
"""vLLM answers 401 without its key; a gateway or a service mesh before it may answer 403."""


class NotYetError(CompletionError):
    """The router does not know the model yet, or nobody can be reached yet."""

    retryable = True


class UnreachedError(NotYetError):
    """No connection came about, or it ended before any answer: the way may be at fault."""


class BrokenOffError(NotYetError):
    """The connection ended in the middle of an answer."""


class SilentError(CompletionError):
    """The request was taken, and no byte came for as long as anyone should wait."""


class KeyRefusedError(CompletionError):
    """Who answers wants another API key, or one at all."""


class ForbiddenError(KeyRefusedError):
    """Somebody before the engine refuses (403), which tells nothing of the key that it holds."""


class UnprotectedError(CompletionError):
    """A question without the API key was answered."""


class NoChatTemplateError(CompletionError):
    """The model was not made for chats: its tokenizer has no chat template."""


@dataclass(frozen=True)
class Limits:
    """Seconds to wait: for a connection, for the next byte, and for all of an answer."""

    connection: float = 5.0
    byte: float = 30.0
    answer: float = 120.0


_ALIVE = Limits(5.0, 5.0, 5.0)
_CONNECTIONS = httpx.Limits(max_connections=None, max_keepalive_connections=64)
"""Who waits for a model holds its connection; nobody else is to wait for that."""


@dataclass(frozen=True)
class Answer:
    """What a model answered: its id as it signed, its completion, how long it took in seconds.

    `first_token_seconds` is from the request to the first text of a stream; `replicas` is how many
    replicas the answer stands for; `notes` are for the reader.
    """

    model: str
    text: str
    seconds: float
    first_token_seconds: float | None = None
    replicas: int = 1
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelsApi:
    """The API at one address, with the key that protects it (or none); for many threads.

    `direct`: one engine answers, so what it does not know now it never will; a router may meet
    the engine a moment later. Every method raises NotYetError when trying again can help,
    SilentError after `limits.byte` seconds without a byte, else CompletionError.
    """

    client: httpx.Client
    api_key: str | None = field(default=None, repr=False)
    direct: bool = False
    limits: Limits = Limits()

    @classmethod
    @contextmanager
    def at(
        cls,
        address: str,
        api_key: str | None,
        *,
        direct: bool = False,
        limits: Limits = Limits(),
    ) -> Iterator[ModelsApi]:
        """Keep connections to the address open while the block runs."""
        # A company's proxy can reach neither a port of this machine nor a pod.
        proxied = not (direct or address.startswith("http://127.0.0.1"))
        with httpx.Client(base_url=address, trust_env=proxied, limits=_CONNECTIONS) as client:
            yield cls(client, api_key, direct, limits)

    def listed(self, model: str = "") -> list[checks.Card]:
        """Return what GET /v1/models lists; `model` is who the question is about, if anyone."""
        return checks.model_cards(self._read("GET", "/v1/models", model), model)

    def check_listed(self, model: str) -> None:
        """Insist that GET /v1/models lists the model."""
        listed = [card.name for card in self.listed(model)]
        if model in listed:
            return
        why = f"/v1/models lists {checks.excerpt(', '.join(listed).encode()) or 'nothing'}"
        if self.direct:
            raise CompletionError("the engine serves another name", why=why, model=model)
        raise NotYetError("not listed yet", why=why, model=model)

    def metrics(self) -> str:
        """Return what GET /metrics tells, in Prometheus' text format."""
        return self._read("GET", "/metrics", "").decode("utf-8", "replace")

    def check_key_is_wanted(self, model: str, prompt: str) -> None:
        """Insist that a completion without the key is refused.

        A completion, because a router (production-stack 0.1.12) lists its models to anyone and
        leaves the key to the engine.
        """
        body = {"model": model, "prompt": prompt, "max_tokens": 1}
        with self._response("POST", "/v1/completions", model, body, with_key=False) as response:
            if response.status_code in _REFUSED:
                b"".join(self._chunks(response, model))  # read, so that the connection goes on
                return
            if not response.is_success:
                self._refuse(response, model)
        raise UnprotectedError(
            "answers without the API key",
            why="a completion that was asked for without Authorization was not refused",
            model=model,
        )

    def complete(
        self, model: str, prompt: str, expected: str | None = None, tokens: int = _MAX_TOKENS
    ) -> Answer:
        """Ask for a short completion and check who answered, and that it is the text expected."""
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0}
        begin = time.monotonic()
        text = checks.completion_text(self._read("POST", "/v1/completions", model, body), model)
        seconds = time.monotonic() - begin
        checks.check_text(text, model, expected)
        return Answer(model, text, seconds)

    def first_token_seconds(self, model: str, prompt: str, *, chat: bool) -> float:
        """Read a streamed chat (or completion) to its end; return when its first text came.

        In seconds from the request. Raises NoChatTemplateError for a chat with a model that has
        none.
        """
        stream, first, begin = checks.Stream(model), None, time.monotonic()
        for _ in self.streamed(stream, prompt, chat=chat):
            if first is None:
                first = time.monotonic() - begin
        return first or 0.0

    def streamed(
        self,
        stream: checks.Stream,
        prompt: str,
        *,
        chat: bool,
        tokens: int = _MAX_TOKENS,
        counted: bool = False,
    ) -> Iterator[str]:
        """Ask the stream's model for a chat (or completion), and yield its text as it comes.

        `counted`: the server is asked how many tokens they were. Raises NoChatTemplateError for a
        chat with a model that has none.
        """
        asked: dict[str, object] = (
            {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
        )
        if counted:
            asked["stream_options"] = {"include_usage": True}
        model, path = stream.model, "/v1/chat/completions" if chat else "/v1/completions"
        body = {"model": model, **asked, "max_tokens": tokens, "temperature": 0, "stream": True}
        with self._response("POST", path, model, body) as response:
            if not response.is_success:
                self._refuse(response, model)
            for line in checks.split_lines(self._chunks(response, model)):
                if text := stream.take(self._without_key(line)):
                    yield text
        stream.check_end()

    def alive(self, model: str) -> bool:
        """Say whether the model itself answers one token within five seconds.

        One that refuses the key answers too: those who have the other.
        """
        body = {"model": model, "prompt": SmokeTest().prompt, "max_tokens": 1, "temperature": 0}
        try:
            hurried = replace(self, limits=_ALIVE)
            answer = hurried._read("POST", "/v1/completions", model, body)  # noqa: SLF001 -- its own
            return checks.completion_text(answer, model) != ""
        except KeyRefusedError:
            return True
        except VllmFlowsError:
            return False

    def requests(self) -> int:
        """Return how many requests the engine has now; raises CompletionError if it does not say.

        An engine shows its /metrics to anyone (vLLM), so no key is sent.
        """
        hurried = replace(self, api_key=None, limits=_ALIVE)
        found = hurried._read("GET", "/metrics", "")  # noqa: SLF001 -- its own
        try:
            return requests_in(found.decode("utf-8", "replace"))
        except ValueError as error:
            raise CompletionError("/metrics tells of no requests") from error

    def is_there(self) -> bool:
        """Say whether anybody answers GET /v1/models as such an API does, within five seconds.

        A router does so by itself, whatever becomes of the models behind it.
        """
        hurried = replace(self, limits=_ALIVE)
        try:
            hurried._read("GET", "/v1/models", "")  # noqa: SLF001 -- its own
        except (NotYetError, SilentError):
            return False
        except CompletionError:
            return True  # somebody refuses us
        return True

    def _read(
        self, method: str, path: str, model: str, body: Mapping[str, object] | None = None
    ) -> bytes:
        """Return the body of a successful answer."""
        with self._response(method, path, model, body) as response:
            if not response.is_success:
                self._refuse(response, model)
            return self._without_key(b"".join(self._chunks(response, model)))

    @contextmanager
    def _response(
        self,
        method: str,
        path: str,
        model: str,
        body: Mapping[str, object] | None = None,
        *,
        with_key: bool = True,
    ) -> Iterator[httpx.Response]:
        """Send a request; the block reads the answer, and what breaks it becomes our error."""
        keyed = {"Authorization": f"Bearer {self.api_key}"} if self.api_key and with_key else {}
        timeout = httpx.Timeout(self.limits.byte, connect=self.limits.connection)
        request = self.client.build_request(method, path, json=body, headers=keyed, timeout=timeout)
        answering = False
        try:
            response = self.client.send(request, stream=True)
            answering = True
            try:
                yield response
            finally:
                response.close()
        except httpx.ReadTimeout as error:
            what = f"no byte for {human_seconds(self.limits.byte)}"
            raise SilentError(what, why=f"{method} {path}", model=model) from error
        except httpx.HTTPError as error:
            why = f"{method} {path}: {error or type(error).__name__}"
            if answering:
                raise BrokenOffError("the answer broke off", why=why, model=model) from error
            raise UnreachedError("no answer", why=why, model=model) from error

    def _chunks(self, response: httpx.Response, model: str) -> Iterator[bytes]:
        """Yield the body as it comes; an answer without an end is none."""
        begin, size = time.monotonic(), 0
        for chunk in response.iter_bytes():
            size += len(chunk)
            if size > _LONGEST_BODY_BYTES:
                raise CompletionError("the answer has no end", why=f"{size} bytes", model=model)
            if time.monotonic() - begin > self.limits.answer:
                what = f"no whole answer within {human_seconds(self.limits.answer)}"
                raise CompletionError(what, why=f"{size} bytes came", model=model)
            yield chunk

    def _refuse(self, response: httpx.Response, model: str) -> None:
        """Raise the error that an unsuccessful answer stands for."""
        status = response.status_code
        body = self._without_key(b"".join(self._chunks(response, model)))
        why = f"HTTP {status}: {checks.excerpt(body)}"
        if checks.lacks_chat_template(body):
            raise NoChatTemplateError("has no chat template", why=why, model=model)
        if status in _TRY_LATER or (status == _NOT_FOUND and not self.direct):
            raise NotYetError("not served yet", why=why, model=model)
        if status in _REFUSED:
            kind = ForbiddenError if status == _FORBIDDEN else KeyRefusedError
            raise kind(
                "the API key was refused",
                why=why,
                next_command="vllm-flows install   (and VLLM_API_KEY, where set, is to be right)"
                if self.api_key
                else "vllm-flows set-api-key, then vllm-flows install",
                model=model,
            )
        raise CompletionError("the request was refused", why=why, model=model)

    def _without_key(self, body: bytes) -> bytes:
        """Take the key out of what may be shown: a server can echo it."""
        return body.replace(self.api_key.encode(), b"***") if self.api_key else body
