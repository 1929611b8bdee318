"""Bars on a terminal: one for each model whose weights are on their way, below what is said."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column

from vllm_flows.transfer import Progress

_NARROW = 100
_NAME = Column(max_width=24, no_wrap=True, overflow="ellipsis")


class Bars:
    """The bars of one run. Tasks in several threads move them."""

    def __init__(self, console: Console) -> None:
        self._lock = Lock()
        self._bars: dict[str, TaskID] = {}
        self._drawn = RichProgress(
            TextColumn("{task.description}", markup=False, table_column=_NAME),
            BarColumn(16 if console.width < _NARROW else 24),
            TextColumn("{task.fields[line]}", markup=False),
            console=console,
            transient=True,
        )

    def move(self, progress: Progress) -> None:
        """Bring the model's bar to where its transfer is; a finished one goes away."""
        with self._lock:
            bar = self._bars.get(progress.model)
            if progress.finished:
                self._remove(progress.model)
                return
            if bar is None:
                self._drawn.start()
                bar = self._drawn.add_task(progress.model, total=None, line="")
                self._bars[progress.model] = bar
            self._drawn.update(
                bar, completed=progress.done, total=progress.total or None, line=progress.line
            )

    def _remove(self, model: str) -> None:
        """Take a bar away at once: lines said before the next drawing would bring it back."""
        if model in self._bars:
            self._drawn.remove_task(self._bars.pop(model))
            self._drawn.refresh()
            if not self._bars:
                self._drawn.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._drawn.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bars away."""
        self._drawn.stop()


@contextmanager
def bars() -> Iterator[Bars | None]:
    """Yield the bars, None where nobody could see them move; take them away at the end."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    drawn = Bars(Console(stderr=True))
    try:
        yield drawn
    finally:
        drawn.close()
