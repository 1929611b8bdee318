"""The verbs that only read: they import no Prefect."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli.agreeing import decide, save, show_notes
from cli.listing import model_rows
from cli.options import Options
from cli.output import emit, note, output_option
from vllm_flows.models_file import load_models

_CHANGES = 2


@click.command()
@output_option
@click.option("--chart", help="Chart: a folder, an OCI reference or a name (VLLM_CHART).")
@click.option("--chart-version", help="Chart version (VLLM_CHART_VERSION).")
@click.option("--allow-downtime", is_flag=True, help="Plan to stop models unless both surely fit.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the plan, for install --plan.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there are changes.")
@click.pass_obj
def plan(
    options: Options,
    *,
    form: str,
    chart: str | None,
    chart_version: str | None,
    allow_downtime: bool,
    out: Path | None,
    detailed_exitcode: bool,
) -> None:
    """Show what install would do, and why; touch nothing."""
    chosen = {"chart": chart, "chart_version": chart_version}
    decision = decide(options, allow_downtime=allow_downtime, **chosen)
    from vllm_flows.report import plan_data, plan_rows

    made = decision.plan
    emit(plan_rows(made), form, data=plan_data(decision))
    show_notes(decision)
    if out and made.blocked:
        note(f"no plan was written to {out}, as a model is blocked")
    made.raise_if_blocked()
    if out:
        save(decision, out, allow_downtime=allow_downtime)
    note("there are changes" if decision.changes else "nothing to change")
    if decision.changes and detailed_exitcode:
        sys.exit(_CHANGES)


@click.command()
@click.argument("file", type=click.Path(), required=False)
@output_option
@click.pass_obj
def validate(options: Options, *, file: str | None, form: str) -> None:
    """Check a models file and list its models; the cluster and the Hub are not asked."""
    models = load_models(Path(file)) if file else options.read_models()
    emit(model_rows(models), form)
