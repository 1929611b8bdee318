"""Reading a completion request, and vLLM's answers to a wrong one."""

from __future__ import annotations

import json
from dataclasses import dataclass

_DEFAULT_TOKENS = 16
_DEFAULT_CHAT_TOKENS = 64


class BadRequestError(Exception):
    """The request cannot be answered; the client is told why."""

    def __init__(self, status: int, message: str, kind: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.parameter = parameter

    def document(self) -> dict[str, object]:
        """Return vLLM's JSON for it."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.parameter,
                "code": self.status,
            }
        }


@dataclass(frozen=True)
class Completion:
    """A valid request; sampling parameters are accepted and change nothing.

    `endless` is vLLM's `ignore_eos`: the answer ends at `max_tokens` only.
    """

    model: str
    prompt: str
    max_tokens: int
    chat: bool
    stream: bool
    include_usage: bool
    endless: bool


def read_completion(body: bytes, *, chat: bool, names: list[str], longest: int) -> Completion:
    """Return the request in `body`; raises BadRequestError when it is wrong.

    `names` are the ids that are served, `longest` is the context length in tokens.
    """
    document = _parse(body)
    model = document.get("model") or names[0]
    if model not in names:
        raise BadRequestError(
            404, f"The model `{model}` does not exist.", "NotFoundError", parameter="model"
        )
    wanted = Completion(
        model=str(model),
        prompt=_messages(document) if chat else _prompt(document),
        max_tokens=_max_tokens(document, chat=chat),
        chat=chat,
        stream=document.get("stream") is True,
        include_usage=_include_usage(document),
        endless=document.get("ignore_eos") is True,
    )
    length = len(wanted.prompt.split()) + wanted.max_tokens
    if length > longest:
        raise _bad(
            f"This model's maximum context length is {longest} tokens. "
            f"However, you requested {length} tokens."
        )
    return wanted


def _parse(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad(f"Invalid JSON: {error}") from error
    if not isinstance(document, dict):
        raise _bad("the body must be a JSON object")
    return document


def _prompt(document: dict[str, object]) -> str:
    prompt = document.get("prompt")
    if isinstance(prompt, list):
        return " ".join(map(str, prompt))
    if not isinstance(prompt, str):
        raise _bad("Field required: prompt", "prompt")
    return prompt


def _messages(document: dict[str, object]) -> str:
    messages = document.get("messages")
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise _bad("Field required: messages", "messages")
    return " ".join(str(each.get("content", "")) for each in messages)


def _max_tokens(document: dict[str, object], *, chat: bool) -> int:
    default = _DEFAULT_CHAT_TOKENS if chat else _DEFAULT_TOKENS
    given = document.get("max_completion_tokens") or document.get("max_tokens")
    if given is None:
        return default
    if not isinstance(given, int) or given < 1:
        raise _bad(f"max_tokens must be at least 1, got {given}.", "max_tokens")
    return given


def _include_usage(document: dict[str, object]) -> bool:
    options = document.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _bad(message: str, parameter: str | None = None) -> BadRequestError:
    return BadRequestError(400, message, "BadRequestError", parameter)
