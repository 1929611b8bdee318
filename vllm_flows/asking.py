"""Asking a model as a person does: the text as it comes, and how fast it came."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from vllm_flows.completion_checks import Stream
from vllm_flows.completions import Limits, ModelsApi, NoChatTemplateError, NotYetError
from vllm_flows.errors import CompletionError

_PATIENT = Limits(connection=5.0, byte=120.0, answer=900.0)
"""A person sees that text comes, and has Ctrl-C."""


@dataclass(frozen=True)
class Asked:
    """An answer and how it came, in seconds from the request.

    `tokens` is the server's count, else the pieces that came; `cut`: it ended at the limit.
    """

    model: str
    kind: str
    prompt: str
    text: str
    first_token_seconds: float
    seconds: float
    tokens: int
    cut: bool

    @property
    def tokens_per_second(self) -> float | None:
        """How fast tokens came after the first; None for a single one."""
        rest = self.seconds - self.first_token_seconds
        return (self.tokens - 1) / rest if self.tokens > 1 and rest > 0 else None

    @property
    def data(self) -> dict[str, Any]:
        """Return it as JSON and YAML show it."""
        rate = self.tokens_per_second
        return {
            "model": self.model,
            "kind": self.kind,
            "prompt": self.prompt,
            "text": self.text,
            "firstTokenSeconds": round(self.first_token_seconds, 3),
            "seconds": round(self.seconds, 3),
            "tokens": self.tokens,
            "tokensPerSecond": None if rate is None else round(rate, 1),
            "cutAtMaxTokens": self.cut,
        }


def ask(
    api: ModelsApi,
    model: str,
    prompt: str,
    *,
    chat: bool,
    tokens: int,
    show: Callable[[str], None],
    now: Callable[[], float] = time.monotonic,
) -> Asked:
    """Ask for at most so many tokens, show each piece of text as it comes, return the whole.

    Raises CompletionError, with the next command, for an answer that is none.
    """
    stream, begin = Stream(model), now()
    first, patient = None, replace(api, limits=_PATIENT)
    with advised(f"logs {model}", model):
        for text in patient.streamed(stream, prompt, chat=chat, tokens=tokens, counted=True):
            first = now() if first is None else first
            show(text)
    end = now()
    return Asked(
        model,
        "chat" if chat else "completion",
        prompt,
        stream.text,
        (first or end) - begin,
        end - begin,
        stream.tokens if stream.tokens is not None else stream.pieces,
        stream.finish_reason == "length",
    )


def insist_on(api: ModelsApi, model: str) -> None:
    """Insist that the API lists the model; afterwards the way to it is open, and not timed.

    Raises CompletionError with the next command.
    """
    with advised(f"logs {model}", model):
        api.check_listed(model)


@contextmanager
def advised(verb: str, model: str = "") -> Iterator[None]:
    """Give errors of the API a command to run next: `verb` where nothing else is known."""
    try:
        yield
    except NoChatTemplateError as error:
        raise _with_next(error, f"vllm-flows test-completions {model} --no-chat") from error
    except NotYetError as error:
        more = "   (vllm-flows list-api-models shows who answers)" if model else ""
        raise _with_next(error, f"vllm-flows wait {model}".strip() + more) from error
    except CompletionError as error:
        raise _with_next(error, f"vllm-flows {verb}") from error


def _with_next(error: CompletionError, command: str) -> CompletionError:
    return type(error)(
        error.what, why=error.why, next_command=error.next_command or command, model=error.model
    )
