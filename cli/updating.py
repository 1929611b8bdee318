"""The verb that brings one model to where its revision stands now."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from cli.agreeing import show
from cli.completing import complete_models
from cli.confirming import confirm, require_terminal, yes_option
from cli.options import Options
from cli.output import note, table
from cli.prefect_runs import run_flow
from vllm_flows.errors import VllmFlowsError
from vllm_flows.report import Report, outcome_rows

if TYPE_CHECKING:
    from vllm_flows.settings import Settings


@click.command()
@click.argument("model", shell_complete=complete_models)
@click.option("--again", is_flag=True, help="Try a commit that did not do before.")
@click.option(
    "--allow-downtime",
    is_flag=True,
    help="Stop the model before its successor starts, unless both surely fit.",
)
@yes_option
@click.pass_obj
def update(options: Options, *, model: str, again: bool, allow_downtime: bool, yes: bool) -> None:
    """Bring one model to the commit that its revision stands for now, and change nothing else.

    Its weights are fetched beside those that serve. With a GPU to spare the commit is first tried
    on its own, out of the router's reach. What does not do is remembered, and not tried again
    without --again. What an interrupted run left serving, and nobody saw answer, is asked first:
    then nothing else is done.
    """
    settings, commit = options.settings(), None
    if not yes:
        require_terminal()
        commit = _agreed(settings, model, again=again, allow_downtime=allow_downtime)
        if commit is None:
            return
    report = _reported(
        partial(
            run_flow,
            _load_update,
            model=model,
            revision=commit,
            models_file=str(settings.models_file),
            namespace=settings.namespace,
            kube_context=settings.kube_context or None,
            again=again,
            allow_downtime=allow_downtime,
        )
    )
    table(outcome_rows(report.outcomes))
    note("updated" if report.changed else "nothing was changed")


def _reported(run: Callable[[], Report]) -> Report:
    try:
        return run()
    except VllmFlowsError as error:
        if error.table:
            table(error.table)
        raise


def _agreed(settings: Settings, model: str, *, again: bool, allow_downtime: bool) -> str | None:
    """Show what would be done, and ask; return the commit, None when there is nothing to do."""
    from vllm_flows.models_file import load_models, named
    from vllm_flows.planning import decide_update_now
    from vllm_flows.updating import why_not

    wanted = named(load_models(settings.models_file), model)
    decision = decide_update_now(settings, wanted, allow_downtime=allow_downtime)
    show(decision)
    decision.plan.raise_if_blocked()
    if reason := why_not(decision, None, again=again):
        note(f"{model}: {reason}")
        return None
    (step,) = decision.plan.steps
    silent = bool(step.rollout and step.rollout.downtime)
    told = f"While it is replaced, nobody answers for {model}. " if silent else ""
    confirm(f"{told}Apply this plan?")
    return decision.commit(model)


def _load_update() -> Callable[..., Report]:
    from flows.update import update

    return update
