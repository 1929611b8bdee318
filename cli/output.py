"""What people see: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click
import yaml

_SHORT = 14


def table(rows: Sequence[dict[str, Any]], *, to_stderr: bool = False) -> None:
    """Print rows with a heading; columns as the first row has them, narrow enough to fit."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in rows[0] if rows else ():
        widest = max(len(str(row[heading])) for row in rows)
        # Short values stay whole: what is long gives way when the terminal is narrow.
        drawn.add_column(heading, overflow="fold", no_wrap=widest <= _SHORT)
    for row in rows:
        drawn.add_row(*(str(value) for value in row.values()))
    Console(file=sys.stderr if to_stderr else sys.stdout, highlight=False).print(drawn)


def emit(rows: Sequence[dict[str, Any]], form: str) -> None:
    """Print rows as a table, JSON or YAML on stdout."""
    if form == "json":
        click.echo(json.dumps(list(rows), indent=2))
    elif form == "yaml":
        click.echo(yaml.safe_dump(list(rows), sort_keys=False), nl=False)
    else:
        table(rows)


def note(text: str) -> None:
    """Say something to the person; never data."""
    click.echo(text, err=True)
