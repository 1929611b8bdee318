"""The command line's reference as a page: `python -m cli.reference` writes docs/cli.md."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from cli.main import cli
from cli.sandboxing import command_line, sandbox
from cli.verbs import TOPICS

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"

_HEAD = """\
# Command line

`vllm-flows [OPTIONS] COMMAND`. A flag wins over the environment, the environment over `.env` in
the working directory, `.env` over the default. Data goes to stdout, everything else to stderr.
This page is written by `make docs` from the commands' own help.
"""


def reference() -> str:
    """Return the page: the options before the verb, exit codes, and every verb by topic."""
    parts = [_HEAD, "## Options before the command\n", *_options(cli)]
    parts += ["## Exit codes\n", _code(_exit_codes())]
    context = click.Context(cli, info_name="vllm-flows")
    for topic, verbs in TOPICS.items():
        parts.append(f"## {topic}\n")
        for name in verbs:
            command = cli.get_command(context, name)
            if command:
                parts += _command(command, click.Context(command, context, name))
    return "\n".join(parts)


def _exit_codes() -> str:
    """Return the lines of the epilog below its heading."""
    return inspect.cleandoc((cli.epilog or "").partition(":\n")[2])


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a verb's part of the page, and those of the verbs below it."""
    yield f"### {context.command_path.removeprefix('vllm-flows ')}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield _code(f"{context.command_path} {usage}")
    yield _paragraphs(inspect.cleandoc(command.help or ""))
    if context.parent and context.parent.command is sandbox:
        yield _code(_sandbox_options(command.name or ""))
    yield from _options(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below:
                yield from _command(below, click.Context(below, context, name))


def _sandbox_options(verb: str) -> str:
    """Return what the sandbox itself, which nothing here imports, says of a verb's options."""
    words = command_line(verb, "--help")
    environment = {**os.environ, "COLUMNS": "100"}
    said = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    return inspect.cleandoc(said.stdout.partition("Options:\n")[2])


def _paragraphs(text: str) -> str:
    """Return a help text as Markdown; what click is told not to wrap stays as it is."""
    found = []
    for block in text.split("\n\n"):
        fixed = block.startswith("\b")
        found.append(_code(block.removeprefix("\b").strip("\n")) if fixed else f"{block}\n")
    return "\n".join(found)


def _options(command: click.Command) -> Iterator[str]:
    rows = [option for option in command.params if isinstance(option, click.Option)]
    if not rows:
        return
    yield "| option | what it does |\n|---|---|"
    context = click.Context(command)
    for option in rows:
        names, text = option.get_help_record(context) or ("", "")
        yield f"| `{_cell(names)}` | {_cell(text)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _code(text: str) -> str:
    return f"```text\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.name} is written\n")
