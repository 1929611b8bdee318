"""`vllm-flows serve`: all deployments of the flows in one process, with a server if need be."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from cli.options import Options, left_pool, named_apart, take_over_option, taken_over
from cli.output import note
from cli.prefect_runs import explained
from cli.prefect_server import (
    LOCAL_API,
    answers,
    own_server,
    prefect_is_configured,
    prepare_environment,
)
from cli.server_presence import Presence
from vllm_flows.addresses import without_credentials
from vllm_flows.errors import ConfigurationError

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

    from vllm_flows.settings import Settings

_AWAY_SECONDS = 180.0
"""How long the server may be away."""


@click.command()
@click.option("--port", default=4200, show_default=True, help="Port of the local Prefect server.")
@take_over_option
@click.pass_obj
def serve(options: Options, *, port: int, take_over: bool) -> None:
    """Serve the flows to the Prefect UI, to schedules and to events, on this machine.

    Uses the Prefect server that is configured, or one that answers on the port; without one,
    starts a local server (SQLite). Where another namespace is served on it too, the deployments
    have names of their own.
    """
    prepare_environment()
    os.environ.update(options.as_environment())
    if options.debug:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "DEBUG")
    with _server(port) as api:
        os.environ["PREFECT_API_URL"] = api
        note(f"Prefect UI: {without_credentials(api.removesuffix('/api'))}")
        with explained():
            _serve_deployments(options.settings(), take_over=take_over)


@contextmanager
def _server(port: int) -> Iterator[str]:
    """Yield the API address of the configured server, or of one that lives as long as this."""
    local = LOCAL_API.replace("4200", str(port))
    if prefect_is_configured():
        yield _configured_address()
    elif answers(local):
        note(f"using the Prefect server that answers on port {port}")
        yield local
    else:
        _insist_on_free_port(port)
        note("starting a local Prefect server")
        with own_server(port) as api:
            yield api


def _configured_address() -> str:
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value() or LOCAL_API)


def _insist_on_free_port(port: int) -> None:
    """Raise ConfigurationError when something that is no Prefect server listens on the port."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"a Prefect server cannot listen on port {port}",
            why=getattr(error, "strerror", None) or str(error),
            next_command="vllm-flows serve --port N   (one that is free)",
        ) from None


def _serve_deployments(settings: Settings, *, take_over: bool) -> None:
    from deployments.automating import automate
    from deployments.catalogue import deployments
    from deployments.places import claim, moved_from, nobodys, place_of, read_server, settled
    from deployments.renewing import keep_schedules, leave_pools

    there = read_server()
    place = settled(place_of(settings), there, take_over=take_over)
    claim(place)
    if place.suffix:
        note(named_apart(place.namespace, place.suffix))
    if nobodys(there):
        note(taken_over(place.namespace, nobodys(there)))
    for old in moved_from(place, "", there):
        note(left_pool(place.namespace, old))
    automate(place)
    found = deployments(place)
    keep_schedules([one.name for one in found])
    leave_pools(found)
    serve_until_ended(found)


def serve_until_ended(found: Sequence[RunnerDeployment], patience: float = _AWAY_SECONDS) -> None:
    """Take the runs of these deployments until Ctrl-C or SIGTERM; what is at work ends too.

    Raises TimedOutError when the server is away for longer than the patience, in seconds.
    """
    names = ", ".join(one.name for one in found)
    note(f"serving {names}; Ctrl-C ends it")
    presence = Presence(without_credentials(os.environ["PREFECT_API_URL"]), patience, note)
    with suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_serving(found, presence))


async def _serving(found: Sequence[RunnerDeployment], presence: Presence) -> None:
    """Serve until it is cancelled, as asyncio does it for Ctrl-C, or the server has gone."""
    from cli.serving_runner import ServingRunner

    loop, serving = asyncio.get_running_loop(), asyncio.current_task()
    runner = ServingRunner(lambda: loop.call_soon_threadsafe(serving.cancel) if serving else None)
    for one in found:
        await runner.aadd_deployment(one)
    tasks = [asyncio.create_task(one) for one in (runner.start(), runner.watch(presence))]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await runner.end_runs(note)
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in ended:
        await task
