"""`vllm-flows doctor`: every prerequisite, how it stands, and what mends it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from cli.options import Options
from cli.output import emit
from cli.prefect_server import LOCAL_API, configured_address, health, prefect_is_configured

if TYPE_CHECKING:
    from vllm_flows.doctor_findings import Finding

_FAILED = 1
_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red", "unknown": "magenta"}


@click.command()
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    help="Form of the answer on stdout.",
)
@click.pass_obj
def doctor(options: Options, *, form: str) -> None:
    """Check all prerequisites: this machine, the cluster, the Hub; say what mends each.

    Nothing is changed. Exit code 1 when there is a problem; warnings, and what could not be looked
    at, do not count.
    """
    from vllm_flows.doctor import examine
    from vllm_flows.doctor_findings import healthy
    from vllm_flows.doctor_questions import Question

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
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    unlimited = None if sys.stdout.isatty() else 10_000
    console = Console(file=sys.stdout, highlight=False, width=unlimited)
    table = Table("check", "state", "found", box=box.SIMPLE_HEAD, pad_edge=False)
    for one in findings:
        table.add_row(one.check, Text(one.state, _COLOURS[one.state]), Text(one.found))
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[2].overflow = "fold"
    console.print(table)
    for one in findings:
        if one.fix:
            console.print(f"{one.check}: {one.fix}", markup=False, soft_wrap=True)
