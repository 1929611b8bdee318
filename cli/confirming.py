"""Asking before something changes: never a hang where nobody can answer."""

from __future__ import annotations

import sys

import click

from vllm_flows.errors import ConfigurationError


def confirm(question: str, verb: str) -> None:
    """Return when the person agrees; abort when not.

    Raises ConfigurationError without a terminal, naming the flag that answers beforehand.
    """
    require_terminal(f"vllm-flows {verb} --yes")
    click.confirm(question, abort=True, err=True)


def confirm_by_name(question: str, name: str, verb: str, *, yes: bool) -> None:
    """Return when the person typed `name`, or said --yes; for what cannot be undone."""
    if yes:
        return
    require_terminal(f"vllm-flows {verb} --yes")
    if click.prompt(f"{question} Type {name!r} to go on", err=True) != name:
        raise click.Abort


def require_terminal(instead: str) -> None:
    """Raise ConfigurationError when nobody can be asked."""
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask on", next_command=instead)
