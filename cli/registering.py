"""`vllm-flows deploy-flows`: the deployments on a Prefect server, for workers."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cli.confirming import confirm, yes_option
from cli.options import Options
from cli.output import note
from cli.prefect_runs import explained
from cli.prefect_server import LOCAL_API, prefect_is_configured, prepare_environment
from vllm_flows.addresses import without_credentials
from vllm_flows.errors import ConfigurationError


@click.command("deploy-flows")
@click.option("--work-pool", metavar="NAME", help="Work pool, made when it is missing (vllm).")
@click.option("--notify", metavar="TYPE/NAME", help="Notification block that is told of incidents.")
@yes_option
@click.pass_obj
def deploy_flows(options: Options, *, work_pool: str | None, notify: str | None, yes: bool) -> None:
    """Register the flows on the configured Prefect server, for workers of a work pool.

    Doing it again updates them; schedules that were made in the UI stay. With --notify, as
    slack-webhook/ops, people are told of what fails, falls ill or waits for them. Workers run the
    flows in the folder that VLLM_FLOWS_DIR names, else in the current one: models.yaml and .env
    are there.
    """
    if not prefect_is_configured():
        raise ConfigurationError(
            "no Prefect server is configured",
            next_command=f"export PREFECT_API_URL={LOCAL_API}   (the server's address); "
            "for this machine alone vllm-flows serve does without",
        )
    prepare_environment()
    from prefect.settings import PREFECT_API_URL

    from deployments.automating import automate
    from deployments.registering import DIRECTORY, catalogue, pools_of, register

    document = catalogue(work_pool, options.as_environment())
    names = ", ".join(entry["name"] for entry in document["deployments"])
    (pool,) = pools_of(document)
    directory = Path(os.environ.get(DIRECTORY) or Path.cwd()).absolute()
    server = without_credentials(str(PREFECT_API_URL.value()))
    note(f"deployments {names} for work pool {pool} on {server}")
    note(f"workers run them in {directory}")
    if not yes:
        confirm("Register them?")
    with explained():
        made = register(document, directory)
        automated = automate(notify)
    for name in made:
        note(f"work pool {name} made")
    for name in automated:
        note(f"automation {name}")
    note(f"registered; next: prefect worker start --pool {pool}")
