"""`vllm-flows serve`: all deployments of the flows in one process, with a server if need be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli.options import Options
from cli.output import note
from cli.prefect_runs import explained
from cli.prefect_server import (
    LOCAL_API,
    answers,
    own_server,
    prefect_is_configured,
    prepare_environment,
)
from vllm_flows.addresses import without_credentials


@click.command()
@click.option("--port", default=4200, show_default=True, help="Port of the local Prefect server.")
@click.pass_obj
def serve(options: Options, port: int) -> None:
    """Serve the flows to the Prefect UI, to schedules and to events, on this machine.

    Uses the Prefect server that is configured; without one, starts a local server (SQLite).
    """
    prepare_environment()
    os.environ.update(options.as_environment())
    if options.debug:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "DEBUG")
    with _server(port) as api:
        os.environ["PREFECT_API_URL"] = api
        note(f"Prefect UI: {without_credentials(api.removesuffix('/api'))}")
        with explained():
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
        note("starting a local Prefect server")
        with own_server(port) as api:
            yield api


def _configured_address() -> str:
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value() or LOCAL_API)


def _serve_deployments() -> None:
    from prefect import serve as serve_forever

    from deployments.automating import automate
    from deployments.catalogue import deployments

    automate()
    serve_forever(*deployments(), pause_on_shutdown=False)
