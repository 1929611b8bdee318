"""The verbs that change the cluster; each runs a flow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from cli.agreeing import Agreement, agree, saved
from cli.confirming import confirm_by_name, require_terminal, yes_option
from cli.options import Options
from cli.output import note, table
from cli.prefect_runs import parameter, run_flow
from vllm_flows.chart import locate_chart
from vllm_flows.errors import ConfigurationError, VllmFlowsError
from vllm_flows.report import Report, outcome_rows

_chart = click.option("--chart", help="Chart: a folder, an OCI reference or a name (VLLM_CHART).")
_downtime = click.option(
    "--allow-downtime",
    is_flag=True,
    help="Stop a model before its successor starts, unless both surely fit.",
)
_plan = click.option(
    "--plan",
    type=click.Path(path_type=Path),
    help="Do what `plan --out` wrote to this file, without asking; refuse anything else.",
)
_chart_version = click.option("--chart-version", help="Chart version (VLLM_CHART_VERSION).")


def _deploying(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that install and upgrade have in common."""
    for option in (_plan, _downtime, _chart_version, _chart, yes_option):
        command = option(command)
    return command


@click.command()
@_deploying
@click.pass_obj
def install(options: Options, /, **given: Any) -> None:  # noqa: ANN401 -- click's own
    """Bring the cluster to what models.yaml says, and ask every model for an answer.

    Running it again goes on where it was, and changes nothing when all is as it should be.
    """
    _deploy(options, **given)


@click.command()
@_deploying
@click.pass_obj
def upgrade(options: Options, /, **given: Any) -> None:  # noqa: ANN401 -- click's own
    """Apply a changed models.yaml; the same as install."""
    _deploy(options, **given)


def _deploy(
    options: Options,
    *,
    yes: bool,
    chart: str | None,
    chart_version: str | None,
    allow_downtime: bool,
    plan: Path | None,
) -> None:
    models = options.read_models()
    settings = options.settings(chart=chart, chart_version=chart_version)
    locate_chart(settings)
    agreement = Agreement(allow_downtime=allow_downtime)
    if plan:
        if allow_downtime:
            raise ConfigurationError(
                "--allow-downtime changes nothing of a plan that is made already",
                next_command=f"vllm-flows plan --allow-downtime --out {plan}",
            )
        agreement = saved(plan, settings.namespace)
    elif not yes:
        require_terminal()
        chosen = {"chart": chart, "chart_version": chart_version}
        agreement = agree(options, allow_downtime=allow_downtime, **chosen)
    run = partial(
        run_flow,
        _load_deploy,
        models=models,
        models_file=str(settings.models_file),
        namespace=settings.namespace,
        kube_context=settings.kube_context or None,
        chart=parameter("VLLM_CHART", chart),
        chart_version=chart_version,
        allow_downtime=agreement.allow_downtime,
        expected_plan=agreement.expected,
    )
    try:
        report = run()
    except VllmFlowsError as error:
        if error.table:
            table(error.table)
        raise
    table(outcome_rows(report.outcomes))
    note(report.sentence)


@click.command()
@yes_option
@click.option("--delete-weights", is_flag=True, help="Delete the volumes with the weights too.")
@click.option("--delete-namespace", is_flag=True, help="Delete the namespace and all in it.")
@click.pass_obj
def uninstall(options: Options, *, yes: bool, delete_weights: bool, delete_namespace: bool) -> None:
    """Remove the models, the Hub token and the API key; the weights stay unless asked for."""
    settings = options.settings()
    gone = ["all models, the Hub token and the API key"]
    gone += ["their weights"] if delete_weights or delete_namespace else []
    gone += ["everything else in it"] if delete_namespace else []
    question = f"This removes {' and '.join(gone)} from namespace {settings.namespace}."
    confirm_by_name(question, settings.namespace, yes=yes)
    run_flow(
        _load_uninstall,
        namespace=settings.namespace,
        kube_context=settings.kube_context or None,
        delete_weights=delete_weights,
        delete_namespace=delete_namespace,
    )
    note("uninstalled" if delete_weights or delete_namespace else "uninstalled; the weights stay")


def _load_deploy() -> Callable[..., Report]:
    from flows.deploy import deploy

    return deploy


def _load_uninstall() -> Callable[..., None]:
    from flows.uninstall import uninstall

    return uninstall
