"""`vllm-flows wait`: until models are ready and answer, or cannot."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from cli.choosing import choose_from
from cli.completing import complete_models
from cli.listed import warned
from cli.options import Options
from cli.output import note
from vllm_flows.errors import ModelsFileError, NotDeployedError

if TYPE_CHECKING:
    from vllm_flows.models import Model
    from vllm_flows.session import Session
    from vllm_flows.settings import Settings


def _duration(_context: click.Context, _parameter: click.Parameter, text: str) -> timedelta:
    from vllm_flows.durations import parse_duration

    try:
        found = parse_duration(text)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error)) from error
    assert isinstance(found, timedelta)  # noqa: S101 -- of a text it always is
    return found


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_models)
@click.option(
    "--timeout", default="30m", show_default=True, callback=_duration, help="As 90s, 30m or 1h30m."
)
@click.pass_obj
def wait(options: Options, *, models: tuple[str, ...], timeout: timedelta) -> None:
    """Wait until models are ready and answer; say what keeps them from it.

    Without a MODEL all that are deployed are waited for. Ends with 4 when the time is over, and
    with 1 as soon as one can never become ready.
    """
    from vllm_flows.awaiting import Limit, wait_for_models
    from vllm_flows.session import Session

    session = Session.open(options.settings())
    chosen = _chosen(session, models)
    limit = Limit(timeout.total_seconds(), "--timeout sets the limit")
    answers = wait_for_models(session, chosen, limit, _say)
    silent = [name for name, answer in answers.items() if answer is None]
    if silent:
        note(f"not asked, as they answer no prompts: {', '.join(silent)}")
    note("all are ready and answer")


def _chosen(session: Session, given: tuple[str, ...]) -> list[Model]:
    """Return the models to wait for. Raises NotDeployedError when one of them is not there."""
    from vllm_flows.reaching import deployed_names, find_target

    listed = _listed(session.settings)
    chosen = (choose_from(list(listed), session, name, "wait") for name in given)
    names = list(dict.fromkeys(chosen))
    for name in names:
        find_target(session, name)
    names = names or deployed_names(session)
    if not names:
        raise NotDeployedError(
            f"no model is deployed in namespace {session.settings.namespace}",
            next_command="vllm-flows install",
        )
    return [listed.get(name) or _unlisted(name) for name in names]


def _listed(settings: Settings) -> dict[str, Model]:
    """Return the models of models.yaml by name; none, and a warning, when it is wrong."""
    from vllm_flows.models_file import load_models

    try:
        return {model.name: model for model in load_models(settings.models_file)}
    except ModelsFileError as error:
        warned(settings, error)
        return {}


def _unlisted(name: str) -> Model:
    """Return a deployed model that models.yaml does not have: it is asked what all are asked."""
    from vllm_flows.models import Model

    return Model(name=name, model_url=f"unknown/{name}")


def _say(text: str) -> None:
    note(f"{datetime.now().astimezone().strftime('%H:%M:%S')}  {text}")
