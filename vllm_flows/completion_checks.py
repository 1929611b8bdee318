"""What an answer of a model must be: judged from bytes and lines, without a connection. Pure.

The documents are those of OpenAI's API as vLLM serves it. What is wrong raises CompletionError.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.errors import CompletionError
from vllm_flows.model_problems import printable

_SHOWN_CHARACTERS = 200
_DONE = b"[DONE]"
_DATA = b"data:"
_NO_CHAT_TEMPLATE = ("default chat template is no longer allowed", "chat_template is not set")
"""vLLM's words, and transformers' own, for a tokenizer that has none (a base model)."""
_TEXTS = ("content", "reasoning_content", "reasoning")
"""Where a chat's text stands: a reasoning parser moves the first of it out of `content`."""


class OtherModelError(CompletionError):
    """The answer is signed by another model than the one that was asked."""


class NoTextError(CompletionError):
    """The answer is whole, and blank."""


def excerpt(body: bytes) -> str:
    """Return the beginning of a body, safe to show."""
    return printable(body.decode("utf-8", "replace"), _SHOWN_CHARACTERS)


def lacks_chat_template(body: bytes) -> bool:
    """Say whether a refused chat was refused because the model has no chat template."""
    text = body.decode("utf-8", "replace")
    return any(words in text for words in _NO_CHAT_TEMPLATE)


@dataclass(frozen=True)
class Card:
    """A model as GET /v1/models lists it: what it is called, and was made from.

    `root` and `max_model_len` (tokens) are vLLM's own; another server may leave them out.
    """

    name: str
    root: str = ""
    max_model_len: int | None = None


def model_cards(body: bytes, model: str = "") -> list[Card]:
    """Return what the answer to GET /v1/models lists; `model` is who was asked for."""
    document = _document(body, "the list of models is none", model)
    try:
        return [_card(card) for card in document["data"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise CompletionError(
            "the list of models is none", why=excerpt(body), model=model
        ) from error


def _card(card: Mapping[str, Any]) -> Card:
    longest = card.get("max_model_len")
    return Card(
        str(card["id"]),
        str(card.get("root") or ""),
        longest if isinstance(longest, int) else None,
    )


def completion_text(body: bytes, model: str) -> str:
    """Return the text of a completion that `model` signed; it may be empty."""
    what = "the answer is no completion"
    document = _document(body, what, model)
    try:
        signed, text = document["model"], document["choices"][0]["text"]
    except (KeyError, IndexError, TypeError) as error:
        raise CompletionError(what, why=excerpt(body), model=model) from error
    _check_signature(signed, model)
    if not isinstance(text, str):
        raise CompletionError(what, why=excerpt(body), model=model)
    return text


def check_text(text: str, model: str, expected: str | None = None) -> None:
    """Insist on a text that is not blank and holds what is expected, if anything is."""
    if not text.strip():
        raise NoTextError("the answer has no text", model=model)
    if expected and expected not in text:
        raise CompletionError(
            "the answer does not hold what smokeTest.expect asks for",
            why=f"{printable(expected)!r} is not in {printable(text)!r}",
            model=model,
        )


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a body that comes in pieces, each as soon as it is whole."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


@dataclass
class Stream:
    """A streamed answer as far as it has come: server-sent events, one chunk of it in each.

    `pieces` had text; `tokens` is how many the server counted, None when it did not say;
    `finish_reason` is its word for why the text ended (`stop`, `length`).
    """

    model: str
    text: str = ""
    done: bool = False
    pieces: int = 0
    tokens: int | None = None
    finish_reason: str = ""
    stray: bytes = b""
    """The first line that belongs to no event."""

    def take(self, line: bytes) -> str:
        """Add a line and return its text; what is no field `data` of an event carries none."""
        line = line.strip()
        if not line.startswith(_DATA):
            self.stray = self.stray or line
            return ""
        data = line.removeprefix(_DATA).strip()
        if data == _DONE:
            self.done = True
            return ""
        document = _document(data, "the stream holds an event that is no chunk", self.model)
        if document.get("error") or document.get("object") == "error":
            raise CompletionError(
                "the stream reports an error", why=excerpt(data), model=self.model
            )
        _check_signature(document.get("model"), self.model)
        text = _chunk_text(document, data, self.model)
        self.text += text
        self.pieces += bool(text)
        self._note(document)
        return text

    def _note(self, document: Mapping[str, Any]) -> None:
        """Keep what a chunk tells beside its text."""
        usage = document.get("usage")
        counted = usage.get("completion_tokens") if isinstance(usage, dict) else None
        self.tokens = counted if isinstance(counted, int) else self.tokens
        for choice in document["choices"]:
            self.finish_reason = str(choice.get("finish_reason") or self.finish_reason)

    def check_end(self) -> None:
        """Insist that the stream was whole and held text."""
        if not self.done:
            raise CompletionError(
                "the stream ended without [DONE]",
                why=excerpt(self.stray or self.text.encode()) or "nothing came",
                model=self.model,
            )
        check_text(self.text, self.model)


def _chunk_text(document: Mapping[str, Any], data: bytes, model: str) -> str:
    """Return what a chunk adds, of a chat or of a completion; the one with the usage adds none."""
    try:
        parts = [choice.get("delta", choice) for choice in document["choices"]]
        texts = [part.get(name) for part in parts for name in (*_TEXTS, "text")]
    except (KeyError, TypeError, AttributeError) as error:
        raise CompletionError(
            "the stream holds an event that is no chunk", why=excerpt(data), model=model
        ) from error
    return "".join(text for text in texts if isinstance(text, str))


def _document(body: bytes, what: str, model: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CompletionError(what, why=excerpt(body), model=model) from error
    if not isinstance(document, dict):
        raise CompletionError(what, why=excerpt(body), model=model)
    return document


def _check_signature(signed: object, model: str) -> None:
    if signed != model:
        raise OtherModelError(f"{printable(str(signed))!r} answered instead", model=model)
