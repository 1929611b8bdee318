"""`vllm-flows check`: the health of what runs, asked and compared with what it was."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import click

from cli.completing import complete_models
from cli.options import Options
from cli.output import emit, note, output_option

if TYPE_CHECKING:
    from vllm_flows.errors import VllmFlowsError
    from vllm_flows.health import Health

_UNHEALTHY = 6


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_models)
@output_option
@click.option("--deep", is_flag=True, help="Read all weights on the volumes, and compare hashes.")
@click.option(
    "--repair",
    is_flag=True,
    help="Restart a replica that does not answer, fetch damaged files anew; within limits.",
)
@click.pass_obj
def check(
    options: Options, *, models: tuple[str, ...], form: str, deep: bool, repair: bool
) -> None:
    """Check the health of models: answers, speed, restarts, weights, access, drift.

    Without a MODEL all of models.yaml and all that are deployed. Each is compared with what it was
    when it was well. Exits with 0 when all are green; with 6 when one is degraded or down, or could
    not be looked at.
    """
    found = (
        _repaired(options, models, deep=deep) if repair else _checked(options, models, deep=deep)
    )
    _show(found, form)
    if found.state != "green":
        sys.exit(_UNHEALTHY)


def _checked(options: Options, names: tuple[str, ...], *, deep: bool) -> Health:
    """Check without Prefect; nothing is changed but what the checks themselves remember."""
    from vllm_flows.health_checking import check_health
    from vllm_flows.health_choosing import chosen
    from vllm_flows.health_keeping import keep
    from vllm_flows.metrics import of_health
    from vllm_flows.metrics_telling import told
    from vllm_flows.session import Session

    settings = options.settings()
    with told(settings, "health", _say) as measured:
        session = Session.open(settings, measured)
        outcome = check_health(session, chosen(session, names), _say, deep=deep)
        kept = keep(session, outcome, None, whole=not names)
        if kept.error:
            _warn(kept.error)
        if not names:
            measured["health"] = of_health(outcome.health)
    return outcome.health


def _warn(error: VllmFlowsError) -> None:
    following = f"\n  next: {error.next_command}" if error.next_command else ""
    note(f"warning: what was seen is not remembered: {error.what}{following}")


def _repaired(options: Options, names: tuple[str, ...], *, deep: bool) -> Health:
    from cli.prefect_runs import run_flow

    settings = options.settings()
    return run_flow(
        _load_health,
        models=list(names) or None,
        models_file=str(settings.models_file),
        namespace=settings.namespace,
        kube_context=settings.kube_context or None,
        deep=deep,
        repair=True,
    )


def _load_health() -> Callable[..., Health]:
    from flows.health import health

    return health


def _show(found: Health, form: str) -> None:
    from vllm_flows.health_report import health_data, health_rows, next_lines, sentence

    emit(health_rows(found), form, data=None if form == "table" else health_data(found))
    for text in (*next_lines(found), *(f"repair: {text}" for text in found.repairs)):
        note(text)
    note(sentence(found))


def _say(text: str) -> None:
    note(f"{datetime.now().astimezone().strftime('%H:%M:%S')}  {text}")
