"""`vllm-flows doctor`: every prerequisite, how it stands, and what mends it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cli.options import Options
from cli.output import emit, output_option
from cli.prefect_server import LOCAL_API, configured_address, health, prefect_is_configured

if TYPE_CHECKING:
    from vllm_flows.doctor_findings import Finding

_FAILED = 1
_WIDTH = 21
"""Of the names of the checks, where nobody draws a table."""
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red", "unknown": "magenta"}


@click.command()
@output_option
@click.pass_obj
def doctor(options: Options, *, form: str) -> None:
    """Check all prerequisites: this machine, the cluster, the Hub; say what mends each.

    Nothing is changed. Exit code 1 when there is a problem; warnings, and what could not be looked
    at, do not count.
    """
    from vllm_flows.doctor import examine
    from vllm_flows.doctor_findings import Question, healthy

    found = examine(options.given(), Question(("prefect",), _prefect))
    if form == "table":
        _show(found)
    else:
        emit([finding.row() for finding in found], form)
    if not healthy(found):
        sys.exit(_FAILED)


def _prefect() -> list[Finding]:
    from vllm_flows.doctor_checks import judge_prefect

    configured = prefect_is_configured()
    address = (configured_address() if configured else "") or LOCAL_API
    return [judge_prefect(address, health(address), configured=configured)]


def _show(findings: list[Finding]) -> None:
    """Print a table, and below it the commands, each whole on a line of its own."""
    if sys.stdout is not None and sys.stdout.isatty():
        _draw(findings)
    else:
        for one in findings:
            click.echo(f"{one.check:<{_WIDTH}}{one.state:<9}{one.found}")
    mending = [one for one in findings if one.fix]
    if mending:
        click.echo("\nwhat mends it:")
    for one in mending:
        click.echo(f"{one.check}: {one.fix}")


def _draw(findings: list[Finding]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("check", "state", "found", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for one in findings:
        table.add_row(one.check, Text(one.state, _COLOURS[one.state]), Text(one.found))
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[2].overflow = "fold"
    Console(file=sys.stdout, highlight=False).print(table)
