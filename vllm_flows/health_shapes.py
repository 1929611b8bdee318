"""The shape of an answer to a fixed prompt, and whether it is as it was. Pure.

An answer's words may differ from night to night, also at temperature 0: batches are put together
differently. Its shape does not: how long it is, how varied, why it ends, and whether it is JSON.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

JSON_PROMPT = 'Answer with JSON alone: an object with the key "capital", about France.'
_FENCE = "```"
_FEW_CHARACTERS = 8
"""Shorter texts tell nothing of variety."""
_JUNK_SHARE = 0.3
_LOST = 4
"""A text of a fourth of what it was is another kind of answer."""
_NO_TEXT = {"Cc", "Cn", "Co", "Cs"}
"""Unicode's categories of what no text holds, but for line breaks and tabs."""


@dataclass(frozen=True)
class Shape:
    """What an answer is like.

    `length` is in characters, `variety` how many different ones there are, `junk` how many are no
    text; `end` is vLLM's word for why it ended.
    """

    length: int
    variety: int
    junk: int = 0
    json: bool = False
    end: str = ""

    @property
    def rubbish(self) -> bool:
        """Say whether nobody would take it for an answer: no text, or one character for ever."""
        if self.length < _FEW_CHARACTERS:
            return False
        return self.variety == 1 or self.junk > _JUNK_SHARE * self.length

    @property
    def data(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return asdict(self)


def shape_of(text: str, end: str = "") -> Shape:
    """Look at an answer; `end` is why it ended (`stop`, `length`)."""
    text = text.strip()
    return Shape(len(text), len(set(text)), sum(map(_is_junk, text)), _is_json(text), end)


def shape_from(data: object) -> Shape | None:
    """Read what `data` gave; None for anything else."""
    if not isinstance(data, Mapping):
        return None
    try:
        length, variety, junk = (int(data[key]) for key in ("length", "variety", "junk"))
        return Shape(length, variety, junk, data["json"] is True, str(data["end"]))
    except (KeyError, TypeError, ValueError):
        return None


def difference(before: Shape, now: Shape) -> str:
    """Say in what the shape is not what it was; "" when it is."""
    if before.json and not now.json:
        return "what was JSON is none"
    if now.length * _LOST < before.length and now.end == before.end:
        return f"it has {now.length} characters, and had {before.length}"
    if now.variety * _LOST < before.variety and now.length * _LOST >= before.length:
        return f"it has {now.variety} different characters, and had {before.variety}"
    return ""


def _is_junk(character: str) -> bool:
    if character in "\n\r\t":
        return False
    return character == "\ufffd" or unicodedata.category(character) in _NO_TEXT


def _is_json(text: str) -> bool:
    """Say whether it is a JSON object or list, also in a fence of Markdown."""
    if text.startswith(_FENCE):
        text = text.strip("`").removeprefix("json").strip()
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False
