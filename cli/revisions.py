"""`vllm-flows check-revisions`: what is served, where the revision stands, and what that means."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from cli.options import Options
from cli.output import emit, note, output_option

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vllm_flows.models import Model
    from vllm_flows.settings import Settings


@click.command("check-revisions")
@click.option(
    "--tell",
    is_flag=True,
    help="Send the events that are due too, as the scheduled flow `watch` does every 15 minutes.",
)
@output_option
@click.pass_obj
def check_revisions(options: Options, *, tell: bool, form: str) -> None:
    """Show whether a branch or tag of models.yaml moved on the Hub, and what changed.

    Nothing is written unless --tell is given, and nothing is rolled out. Exits with 0 also when the
    Hub is silent.
    """
    from vllm_flows.revision_report import revision_rows

    settings, models = options.settings(), options.read_models()
    found = _told(settings) if tell else _looked(settings, models)
    answers = _permissions(found, models, settings)
    rows = revision_rows(found)
    for row in rows:
        what = row.pop("what")
        row |= {"update": answers[row["model"]]["text"], "what": what}
    data = [one | {"update": answers[one["model"]]["data"]} for one in found]
    emit(rows, form, data=data)
    if form == "table" and any(one["class"] == "unknown" for one in found):
        note("where it says unknown the Hub did not tell; the next look asks again")


def _looked(settings: Settings, models: Sequence[Model]) -> list[dict[str, Any]]:
    from vllm_flows.looking_at_revisions import look_at_revisions
    from vllm_flows.revision_report import revision_data
    from vllm_flows.session import Session

    return revision_data(look_at_revisions(Session.open(settings), models).seen)


def _told(settings: Settings) -> list[dict[str, Any]]:
    from cli.prefect_runs import run_flow
    from cli.prefect_server import insist_on_server

    insist_on_server()
    found: list[dict[str, Any]] = run_flow(
        _load_watch,
        models_file=str(settings.models_file),
        namespace=settings.namespace,
        kube_context=settings.kube_context or None,
    )
    return found


def _load_watch() -> Callable[..., Any]:
    from flows.watch import watch

    return watch


def _permissions(
    found: Sequence[dict[str, Any]], models: Sequence[Model], settings: Settings
) -> dict[str, dict[str, Any]]:
    """Say of each model whether the change may be rolled out now: in a word, and as data."""
    from vllm_flows.revision_class import Change
    from vllm_flows.update_policy import may_update

    by_name, zone = {model.name: model for model in models}, ZoneInfo(settings.timezone)
    answers = {}
    for one in found:
        model, change = by_name[one["model"]], Change(one["class"])
        begun = one["unproven"] and one["runs"] == one["tracked"]
        refused = one["refused"] or ""
        may = may_update(model, change, datetime.now(UTC), zone, refused, begun=begun)
        until = may.until.isoformat() if may.until else None
        local = f" until {may.until.astimezone(zone):%a %H:%M}" if may.until else ""
        data = {"answer": str(may.answer), "until": until, "why": may.why}
        answers[model.name] = {"text": f"{may.answer}{local}", "data": data}
    return answers
