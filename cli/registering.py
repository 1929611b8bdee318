"""`vllm-flows deploy-flows`: the deployments on a Prefect server, for workers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.confirming import confirm, yes_option
from cli.options import Options, left_pool, named_apart, take_over_option, taken_over
from cli.output import note
from cli.prefect_runs import explained
from cli.prefect_server import LOCAL_API, prefect_is_configured, prepare_environment
from vllm_flows.addresses import without_credentials
from vllm_flows.errors import ConfigurationError

if TYPE_CHECKING:
    from deployments.places import Place


@click.command("deploy-flows")
@click.option("--work-pool", metavar="NAME", help="Work pool, made when it is missing (vllm).")
@click.option("--notify", metavar="TYPE/NAME", help="Notification block that is told of incidents.")
@take_over_option
@yes_option
@click.pass_obj
def deploy_flows(
    options: Options, *, work_pool: str | None, notify: str | None, take_over: bool, yes: bool
) -> None:
    """Register the flows on the configured Prefect server, for workers of a work pool.

    Doing it again updates them; schedules that were made or paused in the UI stay so. With
    --notify, as slack-webhook/ops, people are told of what fails, falls ill or waits for them.
    Workers run the flows in the folder that VLLM_FLOWS_DIR names, else in the current one:
    models.yaml and .env are there. Each namespace on a server needs a work pool of its own; the
    second one's deployments are called after it.
    """
    if not prefect_is_configured():
        raise ConfigurationError(
            "no Prefect server is configured",
            next_command=f"export PREFECT_API_URL={LOCAL_API}   (the server's address); "
            "for this machine alone vllm-flows serve does without",
        )
    prepare_environment()
    from prefect.settings import PREFECT_API_URL

    from deployments.registering import catalogue, pools_of
    from deployments.steps import DIRECTORY

    directory = Path(os.environ.get(DIRECTORY) or Path.cwd()).absolute()
    with explained():
        place = _place(options, work_pool, take_over=take_over)
    document = catalogue(directory, work_pool, options.as_environment(), place)
    names = ", ".join(entry["name"] for entry in document["deployments"])
    (pool,) = pools_of(document)
    server = without_credentials(str(PREFECT_API_URL.value()))
    note(f"deployments {names} of namespace {place.namespace} for work pool {pool} on {server}")
    note(f"workers run them in {directory}")
    if not yes:
        confirm("Register them?")
    with explained():
        _register(document, place, pool, notify)
    note(f"registered; next: prefect worker start --pool {pool}")


def _place(options: Options, work_pool: str | None, *, take_over: bool) -> Place:
    """Return the namespace with its names on the server, and say what another one has there.

    Raises ConfigurationError when the work pool or the namespace is another's, or may be.
    """
    from deployments.catalogue import pool_of_the_file
    from deployments.places import (
        insist_on_own_pool,
        moved_from,
        nobodys,
        place_of,
        read_server,
        settled,
    )

    there = read_server()
    place = settled(place_of(options.settings()), there, take_over=take_over)
    pool = work_pool or pool_of_the_file()
    insist_on_own_pool(place, pool, there)
    if place.suffix:
        note(named_apart(place.namespace, place.suffix))
    if nobodys(there):
        note(taken_over(place.namespace, nobodys(there)))
    for old in moved_from(place, pool, there):
        note(left_pool(place.namespace, old))
    return place


def _register(document: Mapping[str, Any], place: Place, pool: str, notify: str | None) -> None:
    from deployments.automating import automate
    from deployments.places import claim, insist_on_own_pool, read_server
    from deployments.registering import register

    claim(place)
    for name in register(document):
        note(f"work pool {name} made")
    # Another namespace may have registered for the pool at the same time.
    insist_on_own_pool(place, pool, read_server())
    for name in automate(place, notify):
        note(f"automation {name}")
