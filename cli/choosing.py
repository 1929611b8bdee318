"""Which model a verb is about: given, the only one, or chosen from a list."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cli.confirming import asked
from cli.listed import listed_in
from cli.output import note
from vllm_flows.errors import ConfigurationError
from vllm_flows.names import some_of

if TYPE_CHECKING:
    from vllm_flows.session import Session


def choose_model(session: Session, given: str | None, verb: str) -> str:
    """Return the name of a model of models.yaml, or of one that is deployed.

    Raises ConfigurationError for a name that neither has, and without a terminal to ask on when
    there are several to choose from.
    """
    return choose_from(listed_in(session.settings).names, session, given, verb)


def choose_from(listed: Sequence[str], session: Session, given: str | None, verb: str) -> str:
    """Do as `choose_model`, with the names in models.yaml at hand."""
    if given in listed:
        return given or ""
    from vllm_flows.reaching import deployed_names

    known = list(dict.fromkeys([*listed, *deployed_names(session)]))
    where = f"{session.settings.models_file} and namespace {session.settings.namespace}"
    return choose(known, given, verb, where)


def choose(known: Sequence[str], given: str | None, verb: str, where: str) -> str:
    """Return the one that is given, the only one, or the one that a person picks."""
    if given is not None and given not in known:
        raise ConfigurationError(
            f"there is no model {given!r}",
            why=f"{where} have {some_of(known) or 'none'}",
            next_command=f"vllm-flows {verb} {known[0]}" if known else "vllm-flows validate",
        )
    if not known:
        raise ConfigurationError(
            f"{where} have no model", next_command="vllm-flows validate, then vllm-flows install"
        )
    if given is not None or len(known) == 1:
        return given or known[0]
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "which MODEL? There is no terminal to ask on",
            why=f"{where} have {some_of(known)}",
            next_command=f"vllm-flows {verb} {known[0]}",
        )
    return _pick(known)


def _pick(known: Sequence[str]) -> str:
    for number, name in enumerate(known, 1):
        note(f"{number:3}  {name}")
    numbers = click.IntRange(1, len(known))
    picked: int = asked(lambda: click.prompt("Number of the model", type=numbers, err=True))
    return known[picked - 1]
