"""Serving an application until SIGTERM, and ending with exit code 0 as vLLM does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette


class _Server(uvicorn.Server):
    """uvicorn ends with the signal that stopped it; this one ends with exit code 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGTERM or SIGINT without passing the signal on afterwards."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        yield

    def _stop(self) -> None:
        self.should_exit = True


def serve(app: Starlette, *, host: str, port: int, log_level: str, shutdown_seconds: int) -> None:
    """Serve until a signal; running requests have `shutdown_seconds` to end, then are cut."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level=log_level,
        timeout_graceful_shutdown=shutdown_seconds,
    )
    _Server(config).run()
