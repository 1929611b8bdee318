"""Asking before something changes: never a hang where nobody can answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NoReturn, TypeVar

import click

from cli.hints import this_command
from cli.output import note
from vllm_flows.errors import ConfigurationError

Answer = TypeVar("Answer")

yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
"""Of every verb that asks."""
_DECLINED = 1


def confirm(question: str) -> None:
    """Return when the person agrees; end the command with 1 when not.

    Raises ConfigurationError without a terminal, naming the flag that answers beforehand.
    """
    require_terminal()
    if not asked(lambda: click.confirm(question, err=True)):
        _decline()


def confirm_by_name(question: str, name: str, *, yes: bool) -> None:
    """Return when the person typed `name`, or said --yes; for what cannot be undone."""
    if yes:
        return
    require_terminal()
    if asked(lambda: click.prompt(f"{question} Type {name!r} to go on", err=True)) != name:
        _decline()


def asked(ask: Callable[[], Answer]) -> Answer:
    """Return the answer; what is said after a Ctrl-C begins on a line of its own."""
    try:
        return ask()
    except click.Abort:
        note("")
        raise


def _decline() -> NoReturn:
    note("nothing was changed")
    raise click.exceptions.Exit(_DECLINED)


def require_terminal() -> None:
    """Raise ConfigurationError, naming the flag that answers, when nobody can be asked."""
    if not has_terminal():
        instead = this_command("--yes")
        raise ConfigurationError("there is no terminal to ask on", next_command=instead)


def has_terminal() -> bool:
    """Say whether somebody can be asked; standard input may be closed altogether."""
    return sys.stdin is not None and sys.stdin.isatty()
