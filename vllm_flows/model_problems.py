"""What is wrong with a models.yaml, in words that say where and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from vllm_flows.models import Model, SmokeTest, VllmConfig
from vllm_flows.redaction import redacted
from vllm_flows.yaml_positions import Path

MODEL_KEYS = tuple(field.alias or name for name, field in Model.model_fields.items())
CONFIG_KEYS = tuple(field.alias or name for name, field in VllmConfig.model_fields.items())
SMOKE_KEYS = tuple(SmokeTest.model_fields)
PARTS = {"vllmConfig": CONFIG_KEYS, "smokeTest": SMOKE_KEYS}
"""The fields of a model that hold keys of their own."""

_EXAMPLES = {
    "name": "write the name that requests will use, such as qwen3",
    "modelURL": "write the Hub's id, such as Qwen/Qwen3-4B",
}
# Keys that chart users know from elsewhere, and short names of data types.
_KNOWN_AS = {
    "modelRevision": "revision",
    "model": "modelURL",
    "replicas": "replicaCount",
    "cpu": "requestCPU",
    "memory": "requestMemory",
    "gpu": "requestGPU",
    "gpus": "requestGPU",
    "storage": "pvcStorage",
    "maxModelLength": "maxModelLen",
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
}

_LONGEST = 1000


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to correct: its place, counted from 1, and the model it is about, if any."""

    line: int
    column: int
    model: str
    message: str

    @classmethod
    def at(cls, mark: tuple[int, int], model: str, message: str) -> Problem:
        """Return the problem with what the file holds made safe to show."""
        return cls(*mark, printable(model, 43), printable(message, _LONGEST))

    def text(self, source: str) -> str:
        """Return the problem as a line that editors and terminals can jump from."""
        subject = f"{self.model}: " if self.model else ""
        return f"{source}:{self.line}:{self.column}: {subject}{self.message}"


def printable(text: str, limit: int = 60) -> str:
    """Return the beginning of `text` without secrets and characters that could steer a terminal."""
    text = redacted(text)  # before it is cut: of half a secret the value is not found
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[:limit])
    return f"{shown}…" if len(text) > limit else shown


def dotted(path: Path) -> str:
    """Return a path inside a model as `vllmConfig.extraArgs[2]`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{printable(step)}"
    return text.removeprefix(".")


def nearest(wrong: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `wrong` was probably meant to be."""
    same = {_plain(word): word for word in known}
    meant = _KNOWN_AS.get(wrong, "")
    if _plain(meant) in same:
        return same[_plain(meant)]
    found = get_close_matches(_plain(wrong[:60]), same, n=1, cutoff=0.7)
    return same[found[0]] if found else None


def _plain(word: str) -> str:
    return word.replace("_", "").replace("-", "").lower()


def unknown_key(key: str, part: str = "") -> str:
    """Return what to say about a key that is no field, and of which it may be a misspelling.

    `part` is the field of the model that holds it, if one does.
    """
    here = PARTS.get(part, MODEL_KEYS)
    meant = nearest(key, here)
    if meant:
        return f"unknown key; did you mean `{meant}`?"
    beside = nearest(key, MODEL_KEYS)
    if beside:
        return f"unknown key; `{beside}` belongs beside {part}, not in it"
    for other, keys in PARTS.items():
        inside = nearest(key, keys)
        if inside:
            return f"unknown key; did you mean `{inside}` in {other}?"
    return f"unknown key; known are {', '.join(here)}"


def explain(error: ErrorDetails, written: str | None) -> str:
    """Return in YAML's words what pydantic found; `written` is the value as the file has it."""
    kind, context = error["type"], error.get("ctx", {})
    field = str(error["loc"][-1])
    if kind == "across_fields":
        return str(context["text"])
    if kind == "missing":
        return f"is missing; {_EXAMPLES.get(field, 'write it')}"
    if error["input"] is None:
        return f"has no value; {_EXAMPLES.get(field, 'write one, or remove the line')}"
    got = _shown(error["input"], written)
    if kind in _SHAPES:
        return f"should be {_SHAPES[kind]}, not {got}"
    if kind == "string_type":
        quote = f'; quote it: "{printable(written)}"' if written is not None else ""
        return f"should be text, not {got}{quote}"
    return _explain_value(error, got, context)


_SHAPES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list, each argument on a line that begins with -",
    "model_type": "a mapping of options",
    "string_pattern_mismatch": "an absolute path such as /tmp/metrics",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
}


def _explain_value(error: ErrorDetails, got: str, context: Mapping[str, Any]) -> str:
    kind = error["type"]
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"should be {words} {int(context[name])}, not {got}"
    if kind == "literal_error":
        choices = str(context["expected"]).replace("'", "").replace(" or ", ", ")
        meant = nearest(str(error["input"]), choices.split(", "))
        hint = f"; did you mean {meant}?" if meant else ""
        return f"should be one of {choices}, not {got}{hint}"
    return error["msg"].removeprefix("Value error, ")


def _shown(value: object, written: str | None) -> str:
    if isinstance(value, bool):
        return f"the truth value {printable(written or str(value))}"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    if isinstance(value, str):
        return f"the text '{printable(value)}'"
    return printable(written or str(value))
