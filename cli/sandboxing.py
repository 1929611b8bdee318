"""`vllm-flows sandbox`: the sandbox's own command line, as a process of its own."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import click

from vllm_flows.errors import ConfigurationError

_NEEDS = ("psutil", "uvicorn")
"""The packages of the extra `sandbox`."""
_VERBS = {
    "up": "Bring a sandbox up; one that is up already is left alone.",
    "down": "End every process of a sandbox and remove everything it has.",
    "status": "Show every sandbox and its processes.",
    "env": "Print lines that point vllm-flows, helm and kubectl at a sandbox.",
}


@click.group()
def sandbox() -> None:
    """Run a Kubernetes to try it on: up, down, status, env; no Docker, no root, no GPU.

    The same as `python -m sandbox`, which has a few more verbs. `eval "$(vllm-flows sandbox env)"`
    points this shell at it.
    """


def _passed_on(verb: str, text: str) -> click.Command:
    """Return a command that gives all its words, also --help, to the sandbox's verb."""

    @click.command(
        verb,
        help=text,
        add_help_option=False,
        options_metavar="",
        context_settings={"ignore_unknown_options": True},
    )
    @click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[OPTION]...")
    def command(words: tuple[str, ...]) -> None:
        run(verb, *words)

    return command


def run(*words: str) -> None:
    """Become the sandbox's command line: its output, its exit code, its answer to Ctrl-C.

    Raises ConfigurationError when what it needs is not installed.
    """
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            "the sandbox is not installed",
            why=f"it needs {' and '.join(missing)}",
            next_command="pip install 'vllm-flows[sandbox]'",
        )
    sys.stdout.flush()
    sys.stderr.flush()
    command = command_line(*words)
    os.execv(command[0], command)  # noqa: S606 -- our own interpreter, no shell wanted


def command_line(*words: str) -> list[str]:
    """Return how the sandbox is run; -P: a folder `sandbox` in the working directory is not it."""
    return [sys.executable, "-P", "-m", "sandbox", *words]


for _verb, _text in _VERBS.items():
    sandbox.add_command(_passed_on(_verb, _text))
