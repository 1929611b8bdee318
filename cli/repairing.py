"""The verbs that repair: going back to what served before, taking away what a dead run left."""

from __future__ import annotations

from collections.abc import Callable

import click

from cli.completing import complete_models
from cli.confirming import confirm, confirm_by_name, require_terminal, yes_option
from cli.options import Options
from cli.output import note, table
from cli.prefect_runs import run_flow


@click.command()
@click.option(
    "--to",
    "revision",
    type=click.IntRange(min=1),
    metavar="REVISION",
    help="The Helm revision to bring back; without it, the last one that served before.",
)
@yes_option
@click.pass_obj
def rollback(options: Options, *, revision: int | None, yes: bool) -> None:
    """Bring back what served before, and ask every model that changes.

    Its weights must still be on the volumes. At the end it says what to write in models.yaml, as
    the next upgrade would bring the newer state again. What runs ends before its successor is
    ready only where both have no room.
    """
    settings = options.settings()
    expected = None
    if not yes:
        require_terminal()
        expected = _agreed_way(options, revision)
    run_flow(
        _load_rollback,
        revision=revision,
        namespace=settings.namespace,
        kube_context=settings.kube_context or None,
        models_file=str(settings.models_file),
        expected=expected,
    )
    note("rolled back")


def _agreed_way(options: Options, revision: int | None) -> str:
    """Show the way back and ask; return what tells it from any other."""
    from vllm_flows.earlier import way_rows
    from vllm_flows.looking_back import look_back
    from vllm_flows.session import Session

    way, _ = look_back(Session.open(options.settings()), revision)
    if way.target.revision == way.current:
        note(f"a rollback to Helm revision {way.current} was interrupted:")
        question = "Ask what went back?"
    else:
        note(f"back from Helm revision {way.current} to {way.target.revision}:")
        question = "Where old and new have no room together, the old end first. Go back?"
    table(way_rows(way), to_stderr=True)
    confirm(question)
    return way.agreed


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_models)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Commits that stay of each model: what runs, then what answered last before it.",
)
@click.option(
    "--volumes", is_flag=True, help="Delete volumes of models neither listed nor deployed."
)
@yes_option
@click.pass_obj
def prune(
    options: Options, *, models: tuple[str, ...], keep: int, volumes: bool, yes: bool
) -> None:
    """Remove weights from the volumes that nobody needs any more.

    What runs stays, and what served before it, to which a rollback may go. The volume of a MODEL
    that is named is looked at itself, also for what no record tells of.
    """
    settings = options.settings()
    expected = _agreed_prunings(options, models, keep, volumes=volumes, yes=yes)
    if expected is None:
        note("nothing to remove")
        return
    run_flow(
        _load_prune,
        models=list(models),
        keep=keep,
        namespace=settings.namespace,
        kube_context=settings.kube_context or None,
        models_file=str(settings.models_file),
        volumes=volumes,
        expected=expected,
    )


def _agreed_prunings(
    options: Options, models: tuple[str, ...], keep: int, *, volumes: bool, yes: bool
) -> list[str] | None:
    """Show what goes and ask; return what was agreed to, None when there is nothing to do."""
    from vllm_flows.looking_at_volumes import look_at_volumes
    from vllm_flows.pruning import pruning_rows
    from vllm_flows.session import Session

    settings = options.settings()
    looked = look_at_volumes(Session.open(settings), models, keep, volumes=volumes)
    found = [one for one, _ in looked]
    acting = [one for one in found if one.acts]
    if found:
        table(pruning_rows(found), to_stderr=True)
    if not acting:
        return None
    if any(one.whole for one in acting):
        question = "Volumes that are deleted cannot be brought back."
        confirm_by_name(question, settings.namespace, yes=yes)
    elif not yes:
        confirm("Remove what goes?")
    return [one.agreed for one in acting]


@click.command()
@yes_option
@click.option(
    "--force", is_flag=True, help="Also a lock that is in use: its run then changes nothing more."
)
@click.pass_obj
def unlock(options: Options, *, yes: bool, force: bool) -> None:
    """Take away the lock, or the pending release, that a dead run left.

    Every run does so by itself; this is for when none is to follow. What is in use stays (exit
    code 5), unless --force is given.
    """
    from vllm_flows.lease import wall_clock
    from vllm_flows.session import Session
    from vllm_flows.unlocking import look_at_locks

    settings, now = options.settings(), wall_clock()
    locks = look_at_locks(Session.open(settings), now)
    for line in locks.lines(now):
        note(line)
    if not locks.anything:
        note("nothing to unlock")
        return
    if not force:
        locks.check(now)
    if locks.alive:
        question = "This takes the lock from a run that seems to be at work."
        confirm_by_name(question, settings.namespace, yes=yes)
    elif not yes:
        confirm("Take it away?")
    run_flow(
        _load_unlock,
        namespace=settings.namespace,
        kube_context=settings.kube_context or None,
        force=force,
    )


def _load_rollback() -> Callable[..., list[str]]:
    from flows.rollback import rollback

    return rollback


def _load_prune() -> Callable[..., int]:
    from flows.prune import prune

    return prune


def _load_unlock() -> Callable[..., None]:
    from flows.unlock import unlock

    return unlock
