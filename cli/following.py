"""The verbs for logs: of a model, of its weights Job, of the router."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cli.choosing import choose_model
from cli.completing import complete_models
from cli.options import Options
from cli.output import note
from cli.streaming import check_reader, until_interrupted, write_line
from vllm_flows.errors import ConfigurationError, VllmFlowsError

if TYPE_CHECKING:
    from vllm_flows.log_sources import Source
    from vllm_flows.logs import Logs
    from vllm_flows.session import Session

_ALL = "all"


@dataclass(frozen=True)
class _Wanted:
    """What of the logs is asked for; `tail` None for all."""

    follow: bool
    tail: int | None
    previous: bool
    all_replicas: bool


def _tail(_context: click.Context, _parameter: click.Parameter, text: str) -> int | None:
    if text == _ALL:
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    raise click.BadParameter(f"{text!r} is neither a number of lines nor '{_ALL}'")


def _of_logs(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that both verbs have."""
    for option in (
        click.option(
            "--all-replicas/--newest",
            default=True,
            help="Of all pods (default), or only of the newest that is ready.",
        ),
        click.option("--previous", is_flag=True, help="Of the run before the last restart."),
        click.option(
            "--tail",
            metavar="N|all",
            default="100",
            show_default=True,
            callback=_tail,
            help="Lines of each pod to begin with.",
        ),
        click.option("--follow", "-f", is_flag=True, help="Go on until Ctrl-C, pod after pod."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("model", required=False, shell_complete=complete_models)
@_of_logs
@click.option("--weights", is_flag=True, help="Of the Job that fetches the model's weights.")
@click.pass_obj
def logs(options: Options, /, *, model: str | None, weights: bool, **given: Any) -> None:  # noqa: ANN401 -- click's own
    """Show what the engines of a model write; with several pods each line names its own."""
    from vllm_flows.logs import model_logs, weights_logs

    session = _session(options)
    name = choose_model(session, model, "logs")
    _show(session, _Wanted(**given), weights_logs if weights else model_logs, name)


@click.command("router-logs")
@_of_logs
@click.pass_obj
def router_logs(options: Options, /, **given: Any) -> None:  # noqa: ANN401 -- click's own
    """Show what the router writes."""
    from vllm_flows.logs import model_logs

    _show(_session(options), _Wanted(**given), model_logs, "")


def _session(options: Options) -> Session:
    from vllm_flows.session import Session

    return Session.open(options.settings())


def _show(
    session: Session, wanted: _Wanted, find: Callable[[Session, str], Logs], model: str
) -> None:
    if wanted.follow and wanted.previous:
        raise ConfigurationError(
            "--follow and --previous exclude each other: an earlier run has ended",
            next_command="the same command with one of them",
        )
    from vllm_flows.redaction import redacted_bytes

    found = find(session, model)

    def write(source: Source, text: bytes, *, named: bool) -> None:
        before = b"[%s] " % source.pod.encode() if named else b""
        write_line(before + redacted_bytes(text))

    if wanted.follow:
        with until_interrupted():
            _follow(found, wanted, write)
    else:
        _print(found, wanted, write)


def _print(found: Logs, wanted: _Wanted, write: Callable[..., None]) -> None:
    """Print what there is. Raises the last error when no log could be read."""
    sources = found.readable(newest_only=not wanted.all_replicas, previous=wanted.previous)
    failed: list[VllmFlowsError] = []
    for source in sources:
        try:
            for text in found.read(source, wanted.tail, previous=wanted.previous):
                write(source, text, named=len(sources) > 1)
        except VllmFlowsError as error:
            failed.append(error)
    _tell(failed, among=sources)


def _tell(failed: Sequence[VllmFlowsError], among: Sequence[Source]) -> None:
    if failed and len(failed) == len(among):
        raise failed[-1]
    for error in failed:
        note(str(error))


def _follow(found: Logs, wanted: _Wanted, write: Callable[..., None]) -> None:
    follower = found.follower(note, wanted.tail, newest_only=not wanted.all_replicas)
    for line in follower.lines():
        if line is None:
            check_reader()
            continue
        source, text = line
        write(source, text, named=follower.several)
    note("nothing more will come")
