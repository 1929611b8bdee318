"""The adapter to the models' own API (OpenAI's, as vLLM serves it); imports httpx."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from vllm_flows.errors import CompletionError
from vllm_flows.models import Model

PROMPT = "The capital of France is"
_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_MAX_TOKENS = 16
_TRY_LATER = {404, 429, 500, 502, 503, 504}
"""A router that has not yet met the engine answers 404 or 503; a moment later it has."""
_UNAUTHORIZED = 401


def answers_prompts(model: Model) -> bool:
    """Say whether the model can be asked: it has a replica, and pooling models only embed."""
    pooling = model.vllm_config.runner == "pooling" or model.vllm_config.convert is not None
    return model.replica_count > 0 and not pooling


class NotYetError(CompletionError):
    """The router does not know the model yet, or cannot be reached yet."""

    retryable = True


@dataclass(frozen=True)
class Answer:
    """A completion: the model's id as it signed, the text, and how long it took in seconds."""

    model: str
    text: str
    seconds: float


@dataclass(frozen=True)
class ModelsApi:
    """The API at one address, with the key that protects it (or none)."""

    client: httpx.Client

    @classmethod
    @contextmanager
    def at(cls, address: str, api_key: str | None) -> Iterator[ModelsApi]:
        """Keep one connection to the address while the block runs."""
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        # A company's proxy cannot reach a port of this machine.
        proxied = not address.startswith("http://127.0.0.1")
        with httpx.Client(
            base_url=address, headers=headers, timeout=_TIMEOUT, trust_env=proxied
        ) as client:
            yield cls(client)

    def complete(self, model: str, prompt: str = PROMPT) -> Answer:
        """Ask for a short completion and check who answered, and that it is text.

        The time is the request's own: the connection is made before it starts. Raises
        NotYetError when trying again can help, CompletionError when not.
        """
        body = {"model": model, "prompt": prompt, "max_tokens": _MAX_TOKENS, "temperature": 0}
        self._request("GET", "/health", model)
        begin = time.monotonic()
        response = self._request("POST", "/v1/completions", model, body)
        seconds = time.monotonic() - begin
        try:
            document = response.json()
            signed, text = str(document["model"]), str(document["choices"][0]["text"])
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise CompletionError(
                "the answer is no completion", why=response.text[:200], model=model
            ) from error
        if signed != model:
            raise CompletionError(f"{signed!r} answered instead", model=model)
        if not text.strip():
            raise CompletionError("the answer has no text", model=model)
        return Answer(signed, text, seconds)

    def _request(
        self, method: str, path: str, model: str, body: dict[str, object] | None = None
    ) -> httpx.Response:
        try:
            response = self.client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise NotYetError(
                "no answer", why=str(error) or type(error).__name__, model=model
            ) from error
        if response.is_success:
            return response
        why = f"HTTP {response.status_code}: {response.text[:200]}"
        if response.status_code in _TRY_LATER:
            raise NotYetError("not served yet", why=why, model=model)
        if response.status_code == _UNAUTHORIZED:
            raise CompletionError(
                "the API key was refused",
                why=why,
                next_command="vllm-flows set-api-key, then vllm-flows install",
                model=model,
            )
        raise CompletionError("the request was refused", why=why, model=model)
