"""What stands between a run that lost its lock and the cluster."""

from __future__ import annotations

from collections.abc import Callable

Guard = Callable[[], None]
"""Called right before each write; raises to prevent it."""


def unguarded() -> None:
    """Let every write pass."""
