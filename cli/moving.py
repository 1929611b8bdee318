"""The verb that turns one way of keeping secrets into the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli.confirming import confirm, yes_option
from cli.options import Options
from cli.output import note
from cli.secrets import keeper_of, locked

if TYPE_CHECKING:
    from vllm_flows.secret_moving import Move

_VERB = "move-secrets"


@click.command(_VERB)
@click.option(
    "--to",
    type=click.Choice(["vault", "kubernetes"]),
    required=True,
    help="Vault, from where ExternalSecrets make the Secrets, or plain Secrets.",
)
@yes_option
@click.pass_obj
def move_secrets(options: Options, *, to: str, yes: bool) -> None:
    """Move the Hub token and the API key to Vault, or back to plain Secrets.

    The Secrets that the engines refer to stay all the while, and their values with them: nothing
    has to start anew. On the way back nothing is asked of Vault, and it keeps what it has. What
    was interrupted goes on when it is run again.
    """
    from vllm_flows.credentials import ensure_namespace
    from vllm_flows.secret_mode import Mode
    from vllm_flows.secret_moving import moves, perform

    keeper, mode = keeper_of(options.settings()), Mode(to)
    planned = moves(keeper, mode)
    if not _anything(planned):
        for one in planned:
            note(one.text)
        return
    if not yes:
        confirm(f"In namespace {keeper.cluster.namespace}:\n{_listed(planned)}\nDo that?")
    ensure_namespace(keeper.cluster)
    with locked(keeper, _VERB) as guarded:
        perform(guarded, moves(guarded, mode))


def _anything(planned: list[Move]) -> bool:
    from vllm_flows.secret_moving import Step

    return any(one.step is not Step.NONE for one in planned)


def _listed(planned: list[Move]) -> str:
    return "\n".join(f"  {one.text}" for one in planned)
