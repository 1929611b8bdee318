"""What people see: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import yaml

if TYPE_CHECKING:
    from rich.console import Console

output_option = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    help="Form of the answer on stdout.",
)
_SHORT = 14
_NARROW = 110
"""Columns; a terminal with fewer breaks sentences in the middle of names."""
_UNLIMITED = 10_000


def table(rows: Sequence[dict[str, Any]], *, to_stderr: bool = False) -> None:
    """Print rows with a heading; columns as the first row has them, narrow enough to fit.

    On a narrow terminal a last column of sentences stands below the table instead, a line each.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    file = sys.stderr if to_stderr else sys.stdout
    # Who reads a pipe wants whole lines, as kubectl prints them.
    console = Console(file=file, highlight=False, width=None if file.isatty() else _UNLIMITED)
    headings = list(rows[0]) if rows else []
    below = headings.pop() if console.width < _NARROW and _sentences(rows) else None
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        widest = max(len(str(row[heading])) for row in rows)
        # Short values stay whole: what is long gives way when the terminal is narrow.
        drawn.add_column(heading, overflow="fold", no_wrap=widest <= _SHORT)
    for row in rows:
        drawn.add_row(*(escape(str(row[heading])) for heading in headings))
    unlimited = console.options.update(max_width=_UNLIMITED)
    if console.measure(drawn, options=unlimited).minimum > console.width:
        _records(console, rows)
        return
    console.print(drawn)
    if below:
        for row in rows:
            console.print(f"{row[headings[0]]}: {row[below]}", markup=False, soft_wrap=True)


def _records(console: Console, rows: Sequence[dict[str, Any]]) -> None:
    """Print each row as lines of `heading: value`, where a table would be cut off."""
    for row in rows:
        console.print()
        for heading, value in row.items():
            console.print(f"{heading}: {value}", markup=False, soft_wrap=True)


def _sentences(rows: Sequence[dict[str, Any]]) -> bool:
    """Say whether the last column has texts that a narrow column would break."""
    texts = [str(list(row.values())[-1]) for row in rows]
    return max(map(len, texts), default=0) > 2 * _SHORT


def emit(rows: Sequence[dict[str, Any]], form: str, *, data: object = None) -> None:
    """Print rows as a table, or `data` (else the rows) as JSON or YAML, on stdout."""
    document = list(rows) if data is None else data
    if form == "json":
        click.echo(json.dumps(document, indent=2))
    elif form == "yaml":
        click.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
    else:
        table(rows)


def note(text: str) -> None:
    """Say something to the person; never data."""
    click.echo(text, err=True)
