"""`vllm-flows serve`: all deployments of the flows in one process, with a server if need be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import click

from cli.options import Options
from cli.output import note
from cli.prefect_runs import LOCAL_API, answers, prefect_is_configured, prepare_environment
from vllm_flows.errors import TimedOutError

_STARTUP_SECONDS = 120
_STOP_SECONDS = 20


@click.command()
@click.option("--port", default=4200, show_default=True, help="Port of the local Prefect server.")
@click.pass_obj
def serve(options: Options, port: int) -> None:
    """Serve the flows to the Prefect UI, to schedules and to events, on this machine.

    Uses the Prefect server that is configured; without one, starts a local server (SQLite).
    """
    prepare_environment()
    os.environ.update(options.as_environment())
    with _server(port) as api:
        os.environ["PREFECT_API_URL"] = api
        note(f"Prefect UI: {api.removesuffix('/api')}")
        _serve_deployments()


@contextmanager
def _server(port: int) -> Iterator[str]:
    """Yield the API address of the configured server, or of one that lives as long as this."""
    local = LOCAL_API.replace("4200", str(port))
    if prefect_is_configured():
        yield _configured_address()
    elif answers(local):
        yield local
    else:
        process = _start(local, port)
        try:
            _wait_until_up(local, process)
            yield local
        finally:
            process.terminate()
            process.wait(timeout=_STOP_SECONDS)


def _configured_address() -> str:
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value() or LOCAL_API)


def _start(api: str, port: int) -> subprocess.Popen[bytes]:
    """Start the server. Its UI asks port 4200 unless it is told its own address."""
    host = urlsplit(api).hostname or "127.0.0.1"
    command = [sys.executable, "-m", "prefect", "server", "start"]
    return subprocess.Popen(
        [*command, "--host", host, "--port", str(port)],
        env={**os.environ, "PREFECT_SERVER_UI_API_URL": api},
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C ends the deployments first, then the server
    )


def _wait_until_up(api: str, process: subprocess.Popen[bytes]) -> None:
    note("starting a local Prefect server")
    end = time.monotonic() + _STARTUP_SECONDS
    while not answers(api):
        if process.poll() is not None or time.monotonic() > end:
            raise TimedOutError(
                "the local Prefect server did not start",
                why=f"exit code {process.poll()}",
                next_command="prefect server start   (it shows why)",
            )
        time.sleep(0.3)


def _serve_deployments() -> None:
    from prefect import serve as serve_forever

    from deployments.catalogue import deployments

    serve_forever(*deployments(), pause_on_shutdown=False)
