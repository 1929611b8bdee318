"""Where a secret's value comes from: a file, standard input, the environment, a hidden prompt.

Never an argument: those stand in the shell's history and in the list of processes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cli.confirming import asked, has_terminal
from cli.output import note
from vllm_flows.errors import ConfigurationError
from vllm_flows.regular_file import read_beginning

if TYPE_CHECKING:
    from pydantic import SecretStr

    from vllm_flows.credentials import Place

_LARGEST = 16 * 1024
"""Bytes; no HTTP server takes a longer header."""


class Given(NamedTuple):
    """A value as it was given, and where it came from, for people."""

    value: SecretStr
    source: str


class WithoutValue(click.Command):
    """A command that refuses the value as an argument, without repeating it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raise UsageError when anything but options is given."""
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            raise click.UsageError(
                "the value is no argument: it would stand in the shell's history and in the list "
                "of processes. Give it with --stdin or --file.",
                ctx,
            )
        return rest


def value_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the value comes from."""
    stdin = click.option("--stdin", "from_stdin", is_flag=True, help="Read it from standard input.")
    file = click.option("--file", type=click.Path(path_type=Path), help="Read it from this file.")
    return stdin(file(command))


def given_value(
    place: Place,
    in_environment: SecretStr | None,
    *,
    from_stdin: bool,
    file: Path | None,
    empty_means: str = "",
) -> Given | None:
    """Return the value: the option's, else the variable's, else what is typed without echo.

    None when nothing is given: there is no terminal to ask on, or the answer was left empty, which
    can be done only where `empty_means` says what follows. Raises ConfigurationError when the
    source cannot be read, and when what it holds is no value.
    """
    from pydantic import SecretStr

    found = _found(place, in_environment, from_stdin=from_stdin, file=file, empty=empty_means)
    if found is None:
        return None
    text, source = found
    from vllm_flows.credentials import checked

    return Given(SecretStr(checked(text, source, place)), source)


def offered_token() -> Given | None:
    """Ask, on a terminal, whether the token that `hf auth login` left is to be taken.

    None when there is none, nobody can be asked, or the answer is no.
    """
    if not has_terminal():
        return None
    from pydantic import SecretStr

    from vllm_flows.credentials import HF_TOKEN, checked
    from vllm_flows.hub_login import token_left

    left = token_left()
    if left is None:
        return None
    value, source = left
    question = f"There is a token in {source}, for this machine's own use. Store it in the cluster?"
    if not asked(lambda: click.confirm(question, default=False, err=True)):
        return None
    return Given(SecretStr(checked(value, source, HF_TOKEN)), source)


def _found(
    place: Place,
    in_environment: SecretStr | None,
    *,
    from_stdin: bool,
    file: Path | None,
    empty: str,
) -> tuple[str, str] | None:
    if file:
        return _in_file(file, place), str(file)
    if from_stdin and not has_terminal():
        # It may be closed altogether.
        data = sys.stdin.buffer.read(_LARGEST + 1) if sys.stdin else b""
        return _text(data, "standard input", place), "standard input"
    if in_environment is not None and not from_stdin:
        note(f"taken from {place.variable}")
        return in_environment.get_secret_value(), place.variable
    if not has_terminal():
        return None
    answer = _typed(place, empty)
    return (answer, "your input") if answer.strip() or not empty else None


def _in_file(file: Path, place: Place) -> str:
    try:
        return _text(read_beginning(file, _LARGEST), str(file), place)
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read",
            why=error.strerror or type(error).__name__,
            next_command=f"vllm-flows {place.verb} --file FILE, with a file that holds the value; "
            "--stdin reads a pipe",
        ) from None


def _text(data: bytes, source: str, place: Place) -> str:
    """Return a value's worth; bytes that are no text become signs that no value has."""
    if len(data) > _LARGEST:
        raise ConfigurationError(
            f"{source} holds no usable value",
            why=f"it is larger than {_LARGEST // 1024} KiB",
            next_command=f"vllm-flows {place.verb} --file FILE, with a file that holds the value "
            "alone",
        )
    return data.decode("utf-8", "replace")


def _typed(place: Place, empty: str) -> str:
    hint = f" (hidden; {empty})" if empty else " (hidden)"
    label, default = place.what + hint, "" if empty else None
    try:
        return str(
            asked(
                lambda: click.prompt(
                    label, hide_input=True, err=True, default=default, show_default=False
                )
            )
        )
    except UnicodeError:
        return ""  # what no keyboard types is refused as no value at all
