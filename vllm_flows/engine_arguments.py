"""Reading `vllmConfig.extraArgs` the way vLLM's command line does."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FLAG = re.compile(r"--?[A-Za-z]")


def flag_of(argument: str) -> str:
    """Return the flag that an argument names, `--max-model-len` or `-q`; "" for a value.

    vLLM takes underscores for hyphens and `--hf-overrides.rope_theta` for part of a mapping.
    """
    if not _FLAG.match(argument):
        return ""
    return argument.split("=", 1)[0].split(".", 1)[0].replace("_", "-")


def has_flag(arguments: Sequence[str], *flags: str) -> bool:
    """Say whether one of the flags is given, with or without a value."""
    return any(flag_of(argument) in flags for argument in arguments)


def flag_value(arguments: Sequence[str], flag: str) -> str:
    """Return the value given last to the flag, "" when there is none."""
    value = ""
    for position, argument in enumerate(arguments):
        if flag_of(argument) != flag:
            continue
        _, equals, given = argument.partition("=")
        following = arguments[position + 1] if position + 1 < len(arguments) else ""
        value = given if equals else ("" if flag_of(following) else following)
    return value


def flag_number(arguments: Sequence[str], flag: str) -> float:
    """Return the flag's value as a positive number, 0 when there is none.

    vLLM takes `8k` for 8,000 and `8K` for 8,192 in whole numbers.
    """
    text = flag_value(arguments, flag)
    scale = {"k": 1e3, "m": 1e6, "g": 1e9, "K": 2**10, "M": 2**20, "G": 2**30}.get(text[-1:], 1)
    digits = text[:-1] if scale != 1 else text
    if len(digits) > 12 or not digits.replace(".", "", 1).isdecimal():  # noqa: PLR2004 -- no such number is longer
        return 0
    return float(digits) * scale
