"""Progress on stderr: one line per step, with the seconds since the start."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

INTERVAL = 8.0
"""Seconds between two lines of a step that takes long."""

Report = Callable[[str], None]


def to_stderr() -> Report:
    """Return a reporter that begins each line with the seconds since it was made."""
    begun = time.monotonic()

    def report(text: str) -> None:
        click.echo(f"[{time.monotonic() - begun:6.1f} s] {text}", err=True)

    return report


def silent(_text: str) -> None:
    """Report to nobody."""


def at_intervals(report: Report, interval: float = INTERVAL) -> Report:
    """Return a reporter that passes on at most one text per `interval` seconds."""
    last = time.monotonic()

    def limited(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= interval:
            last = time.monotonic()
            report(text)

    return limited
