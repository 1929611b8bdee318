"""The verbs that change the cluster; each runs a flow."""

from __future__ import annotations

from collections.abc import Callable

import click

from cli.confirming import confirm, confirm_by_name, require_terminal
from cli.options import Options
from cli.output import note, table
from cli.prefect_runs import run_flow
from vllm_flows.chart import locate_chart
from vllm_flows.report import Report, outcome_rows, plan_notes, plan_rows

_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
_chart = click.option("--chart", help="Chart: a folder, an OCI reference or a name (VLLM_CHART).")
_chart_version = click.option("--chart-version", help="Chart version (VLLM_CHART_VERSION).")


@click.command()
@_yes
@_chart
@_chart_version
@click.pass_obj
def install(options: Options, *, yes: bool, chart: str | None, chart_version: str | None) -> None:
    """Bring the cluster to what models.yaml says, and ask every model for an answer.

    Running it again goes on where it was, and changes nothing when all is as it should be.
    """
    _deploy(options, "install", yes=yes, chart=chart, chart_version=chart_version)


@click.command()
@_yes
@_chart
@_chart_version
@click.pass_obj
def upgrade(options: Options, *, yes: bool, chart: str | None, chart_version: str | None) -> None:
    """Apply a changed models.yaml; the same as install."""
    _deploy(options, "upgrade", yes=yes, chart=chart, chart_version=chart_version)


def _deploy(
    options: Options, verb: str, *, yes: bool, chart: str | None, chart_version: str | None
) -> None:
    models = options.read_models()
    settings = options.settings(chart=chart, chart_version=chart_version)
    locate_chart(settings)
    if not yes:
        require_terminal(f"vllm-flows {verb} --yes")
        _show_and_ask(options, verb, chart=chart, chart_version=chart_version)
    report = run_flow(
        _load_deploy,
        models=models,
        models_file=str(settings.models_file),
        namespace=settings.namespace,
        kube_context=settings.kube_context or None,
        chart=chart,
        chart_version=chart_version,
    )
    table(outcome_rows(report.outcomes))
    note(report.sentence)


def _show_and_ask(options: Options, verb: str, **overrides: str | None) -> None:
    from vllm_flows.planning import plan_now

    plan = plan_now(options.settings(**overrides), options.read_models())
    table(plan_rows(plan), to_stderr=True)
    for text in plan_notes(plan):
        note(text)
    plan.raise_if_blocked()
    if plan.changes:
        confirm("Apply this plan?", verb)


@click.command()
@_yes
@click.option("--delete-weights", is_flag=True, help="Delete the volumes with the weights too.")
@click.option("--delete-namespace", is_flag=True, help="Delete the namespace and all in it.")
@click.pass_obj
def uninstall(options: Options, *, yes: bool, delete_weights: bool, delete_namespace: bool) -> None:
    """Remove the models, the Hub token and the API key; the weights stay unless asked otherwise."""
    settings = options.settings()
    gone = ["all models, the Hub token and the API key"]
    gone += ["their weights"] if delete_weights or delete_namespace else []
    gone += ["everything else in it"] if delete_namespace else []
    question = f"This removes {' and '.join(gone)} from namespace {settings.namespace}."
    confirm_by_name(question, settings.namespace, "uninstall", yes=yes)
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
