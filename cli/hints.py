"""The commands that texts recommend, as this person has to type them."""

from __future__ import annotations

import re
import shlex
import sys

_OURS = re.compile(r"\bvllm-flows (?=[a-z])")
_KUBECTL = re.compile(r"\bkubectl (?=[a-z])")
_given: list[str] = []
_context: list[str] = []


def remember(*, namespace: str | None, kube_context: str | None, models: str | None) -> None:
    """Keep what was said before the verb: without it a copied command would act elsewhere."""
    options = {"--namespace": namespace, "--context": kube_context, "--models": models}
    _given[:] = [word for name, value in options.items() if value for word in (name, value)]
    _context[:] = ["--context", kube_context] if kube_context else []


def spelled(text: str) -> str:
    """Return the text with these options in every command of ours and of kubectl in it."""
    return _with(_OURS, _given, _with(_KUBECTL, _context, text))


def _with(command: re.Pattern[str], options: list[str], text: str) -> str:
    if not options:
        return text
    words = f"{shlex.join(options)} "
    return command.sub(lambda found: found[0] + words, text)


def this_command(flag: str) -> str:
    """Return the command as it was typed, with a flag more."""
    return f"vllm-flows {shlex.join([*sys.argv[1:], flag])}"
