"""What people see: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

import click
import yaml

from cli.hints import spelled
from vllm_flows.redaction import redacted

if TYPE_CHECKING:
    from rich.console import Console

Row = dict[str, Any]

output_option = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    help="Form of the answer on stdout.",
)
_SHORT = 14
_SENTENCE = 28
"""Characters: a value up to the first stays whole, one beyond the second is a sentence."""
_NARROW = 110
"""Columns; a terminal with fewer has no room for sentences beside other columns."""
_GAP = 2


def table(rows: Sequence[Row], *, to_stderr: bool = False) -> None:
    """Print rows with a heading, columns as the first row has them; no word is ever broken.

    Last columns that the terminal has no room for, or little for their sentences, stand below the
    table, a line for each row. Where that are most of them each row is a record. Who reads a pipe
    gets whole lines and nothing but them, as from kubectl.
    """
    file = sys.stderr if to_stderr else sys.stdout
    # Before they are laid out: what is broken into lines is found no more.
    rows = [{name: redacted(str(value)) for name, value in row.items()} for row in rows]
    if not file.isatty():
        _piped(rows, file)
        return
    from rich.console import Console

    console = Console(file=file, highlight=False)
    headings = list(rows[0]) if rows else []
    beside = headings[:-1] if console.width < _NARROW and _sentences(rows) else headings
    while beside and not _widths(rows, beside, console.width):
        beside = beside[:-1]
    if 2 * len(beside) < len(headings):
        for row in rows:
            _lines(console, ["", *(f"{heading}: {value}" for heading, value in row.items())])
        return
    _draw(console, rows, _widths(rows, beside, console.width))
    for heading in headings[len(beside) :]:
        _lines(console, [f"{heading}:", *(f"{row[headings[0]]}: {row[heading]}" for row in rows)])
        console.print()


def _piped(rows: Sequence[Row], file: TextIO) -> None:
    headings = list(rows[0]) if rows else []
    lines = [headings, *([str(row[one]) for one in headings] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines if rows else []:
        cells = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        click.echo((" " * _GAP).join(cells).rstrip(), file=file)


def _widths(rows: Sequence[Row], headings: Sequence[str], room: int) -> dict[str, int]:
    """Return widths that break no word and no short value; none where there is no room for that.

    Columns that miss least to stand on one line get it first.
    """
    from rich.cells import cell_len

    cells = {one: [str(row[one]) for row in rows] for one in headings}
    whole = {one: max(map(cell_len, [one, *texts])) for one, texts in cells.items()}
    widths = {one: max(map(cell_len, _unbroken(one, texts))) for one, texts in cells.items()}
    spare = room - sum(widths.values()) - _GAP * (len(widths) - 1)
    if spare < 0:
        return {}
    for one in sorted(widths, key=lambda one: whole[one] - widths[one]):
        more = min(spare, whole[one] - widths[one])
        widths[one] += more
        spare -= more
    return widths


def _unbroken(heading: str, texts: Sequence[str]) -> list[str]:
    """Return what has to stand on one line: short values, and the words of all else."""
    short = [text for text in texts if len(text) <= _SHORT]
    long = [text for text in texts if len(text) > _SHORT]
    return [*short, *" ".join([heading, *long]).split()]


def _draw(console: Console, rows: Sequence[Row], widths: Mapping[str, int]) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    # A column and its gap: half of that is the box's own divider.
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for heading, width in widths.items():
        drawn.add_column(heading, width=width)
    for row in rows:
        drawn.add_row(*(escape(str(row[heading])) for heading in widths))
    console.print()
    console.print(drawn)
    console.print()


def _lines(console: Console, texts: Sequence[str]) -> None:
    """Print each text, broken between words; a longer word, such as an address, stays whole."""
    for text in texts:
        wrapped = textwrap.fill(
            text,
            console.width,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        console.print(wrapped, markup=False, soft_wrap=True)


def _sentences(rows: Sequence[Row]) -> bool:
    """Say whether the last column has texts that a narrow column would make long and thin."""
    texts = [str(list(row.values())[-1]) for row in rows]
    return max(map(len, texts), default=0) > _SENTENCE


def emit(rows: Sequence[Row], form: str, *, data: object = None) -> None:
    """Print rows as a table, or `data` (else the rows) as JSON or YAML, on stdout."""
    document = list(rows) if data is None else data
    if form == "json":
        click.echo(json.dumps(document, indent=2))
    elif form == "yaml":
        click.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
    else:
        table(rows)


def note(text: str) -> None:
    """Say something to the person; never data. A run goes on when the person has gone away.

    Commands in it are told as this person has to type them.
    """
    with suppress(BrokenPipeError):
        click.echo(spelled(text), err=True)
