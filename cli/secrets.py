"""The verbs for the Hub token and the API key: hidden input, never an argument."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.confirming import confirm, has_terminal, yes_option
from cli.options import Options
from cli.output import emit, note
from cli.secret_input import Given, WithoutValue, given_value, offered_token, value_options
from vllm_flows.errors import AnotherValueError, ConfigurationError, HubUnavailableError
from vllm_flows.guarded_process import shown_on_purpose

if TYPE_CHECKING:
    from pydantic import SecretStr

    from vllm_flows.credentials import Place
    from vllm_flows.keeping import Keeper
    from vllm_flows.settings import Settings

_GENERATED_BYTES = 32
_APPLY = "next: vllm-flows install   (it gives the engines and the router the key that is set now)"
_form = click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["value", "json", "yaml"]),
    default="value",
    help="The bare value, or a document with name, value and source.",
)
_replacing = click.option(
    "--yes",
    "-y",
    is_flag=True,
    help="Do not ask before another value is replaced that Vault holds, perhaps for others.",
)


@click.command("set-hf-token", cls=WithoutValue)
@value_options
@click.option("--no-check", is_flag=True, help="Do not ask the Hub whose token it is.")
@_replacing
@click.pass_obj
def set_hf_token(
    options: Options, *, from_stdin: bool, file: Path | None, no_check: bool, yes: bool
) -> None:
    """Store a Hugging Face token in the cluster, for gated models.

    It is read with --stdin or --file, taken from VLLM_HF_TOKEN, or asked for without echo; on a
    terminal the token that `hf auth login` left is offered first. The Hub is asked whose it is: a
    token that it does not know is not stored.
    """
    from vllm_flows.credentials import HF_TOKEN

    _one_source(from_stdin, file)
    settings = options.settings()
    given = None
    if not (from_stdin or file or settings.hf_token):
        given = offered_token()
    if given is None:
        given = given_value(HF_TOKEN, settings.hf_token, from_stdin=from_stdin, file=file)
    if given is None:
        raise _nothing_given(HF_TOKEN)
    if not no_check:
        _check(settings, given)
    _store(settings, HF_TOKEN, given, yes=yes)
    _warn_of_variable(HF_TOKEN, settings.hf_token, given.value.get_secret_value())


@click.command("set-api-key", cls=WithoutValue)
@value_options
@click.option("--generate", is_flag=True, help="Make a random key, also where there is one.")
@_replacing
@click.pass_obj
def set_api_key(
    options: Options, *, from_stdin: bool, file: Path | None, generate: bool, yes: bool
) -> None:
    """Store the API key that protects the endpoint; install applies it to the engines.

    It is read with --stdin or --file, taken from VLLM_API_KEY, or asked for without echo. When none
    is given, a random one is made and printed, once, on stdout; without a terminal that is done
    only where there is no key yet, or with --generate.
    """
    from vllm_flows.credentials import API_KEY

    _one_source(from_stdin, file, generate)
    settings = options.settings()
    given = None
    if not generate:
        given = given_value(
            API_KEY,
            settings.api_key,
            from_stdin=from_stdin,
            file=file,
            empty_means="empty for a new random one",
        )
        if given is None and not has_terminal():
            _insist_on_none(settings)
    stored = given or Given(_generated(), "a new random key")
    value = stored.value
    _store(settings, API_KEY, stored, yes=yes)
    if given is None:
        note("a new random key (vllm-flows get-api-key prints it again):")
        with shown_on_purpose():
            click.echo(value.get_secret_value())
    _warn_of_variable(API_KEY, settings.api_key, value.get_secret_value())
    note(_APPLY)


@click.command("get-hf-token")
@_form
@click.pass_obj
def get_hf_token(options: Options, *, form: str) -> None:
    """Print the stored Hugging Face token, alone, on stdout.

    Ends with 1 when none is stored.
    """
    from vllm_flows.credentials import HF_TOKEN

    _print(options.settings(), HF_TOKEN, form)


@click.command("get-api-key")
@_form
@click.pass_obj
def get_api_key(options: Options, *, form: str) -> None:
    """Print the stored API key, alone, on stdout.

    Ends with 1 when none is stored.
    """
    from vllm_flows.credentials import API_KEY

    _print(options.settings(), API_KEY, form)


@click.command("delete-hf-token")
@yes_option
@click.pass_obj
def delete_hf_token(options: Options, *, yes: bool) -> None:
    """Delete the stored Hugging Face token; models that are served go on.

    Where Vault keeps it, it is deleted there too. Ends with 0 when there is none.
    """
    from vllm_flows.credentials import HF_TOKEN

    settings = options.settings()
    question = "Without it the weights of gated models cannot be fetched. Delete it?"
    _delete(settings, HF_TOKEN, settings.hf_token, question, yes=yes)


@click.command("delete-api-key")
@yes_option
@click.pass_obj
def delete_api_key(options: Options, *, yes: bool) -> None:
    """Delete the stored API key; install then opens the endpoint to all who reach it.

    Where Vault keeps it, it is deleted there too. Ends with 0 when there is none.
    """
    from vllm_flows.credentials import API_KEY

    settings = options.settings()
    question = (
        "The engines keep the key until the next install, which opens the endpoint to all who "
        "reach it; a pod that starts before that finds no key and does not start. Delete it?"
    )
    if _delete(settings, API_KEY, settings.api_key, question, yes=yes):
        note("next: vllm-flows install   (without a key the endpoint is open to all who reach it)")


def _one_source(*sources: object) -> None:
    if sum(map(bool, sources)) > 1:
        raise click.UsageError("--stdin, --file and --generate exclude each other: give one.")


def _nothing_given(place: Place) -> ConfigurationError:
    return ConfigurationError(
        "there is no terminal to ask on",
        next_command=f"vllm-flows {place.verb} --stdin < FILE",
    )


def _insist_on_none(settings: Settings) -> None:
    """Refuse to replace a key unasked: a script that runs twice would lock out all clients."""
    from vllm_flows import credentials
    from vllm_flows.keeping import raise_if_pending

    cluster = keeper_of(settings).cluster
    if not credentials.read(cluster, credentials.API_KEY, None):
        raise_if_pending(cluster, credentials.API_KEY)
    else:
        raise ConfigurationError(
            "there is an API key already, and no new one was given",
            next_command="vllm-flows set-api-key --stdin < FILE   (or --generate for a new random "
            "one; vllm-flows get-api-key prints the one that is set)",
        )


def _generated() -> SecretStr:
    import secrets

    from pydantic import SecretStr

    return SecretStr(secrets.token_urlsafe(_GENERATED_BYTES))


def _check(settings: Settings, given: Given) -> None:
    """Ask the Hub whose token it is and say so; raises AccessError when it does not know it."""
    from datetime import UTC, datetime

    from vllm_flows.hub_token import account_of, describe, shortcoming

    try:
        account = account_of(settings.hub_endpoint, given.value.get_secret_value(), given.source)
    except HubUnavailableError as error:
        note(f"warning: the token is not checked: {error}")
        return
    note(describe(account))
    found = shortcoming(account, settings.hub_endpoint, datetime.now(UTC))
    if found:
        note(f"warning: {found}")


def keeper_of(settings: Settings) -> Keeper:
    """Return what keeps the secrets of the namespace; nothing is asked yet."""
    from vllm_flows.cluster import Cluster
    from vllm_flows.keeping import Keeper
    from vllm_flows.waiting import StoppableClock

    cluster = Cluster.connect(settings.namespace, settings.kube_context)
    return Keeper(cluster, settings, note, StoppableClock())


@contextmanager
def locked(keeper: Keeper, verb: str) -> Iterator[Keeper]:
    """Hold the namespace's lock: a run that is at work has read the value already."""
    from dataclasses import replace

    from vllm_flows.lease import Lock

    with Lock.of(keeper.cluster, verb, note) as lock:
        yield replace(keeper, cluster=replace(keeper.cluster, guard=lock.check))


def _store(settings: Settings, place: Place, given: Given, *, yes: bool) -> None:
    """Store the value; who is at a terminal is asked before Vault's own is replaced by it."""
    from vllm_flows import credentials

    keeper = keeper_of(settings)
    credentials.ensure_namespace(keeper.cluster)
    try:
        _store_locked(keeper, place, given, replacing=yes)
    except AnotherValueError as error:
        if not has_terminal():
            raise
        confirm(f"{error.what}; {error.why}. Replace it?")
        _store_locked(keeper, place, given, replacing=True)


def _store_locked(keeper: Keeper, place: Place, given: Given, *, replacing: bool) -> None:
    from vllm_flows import credentials
    from vllm_flows.secret_mode import Maker

    with locked(keeper, place.verb) as guarded:
        credential = credentials.read(guarded.cluster, place, given.value, given.source)
        kept = guarded.look(place)
        if kept.store.is_there and kept.maker is not Maker.OTHER:
            note(f"to be kept in {kept.where}: {kept.choice.reason}")
        changed = credential is not None and guarded.store(
            place, credential, anew=True, replacing=replacing
        )
    state = "is set" if changed else "holds that value already"
    where = f"in namespace {keeper.cluster.namespace}"
    note(f"Secret {place.secret} {state} {where}{kept.for_all if changed else ''}")


def _print(settings: Settings, place: Place, form: str) -> None:
    keeper = keeper_of(settings)
    found = keeper.stored(place)
    with shown_on_purpose():
        if form == "value":
            click.echo(found.value)
        else:
            source = f"{keeper.look(place).source} in namespace {settings.namespace}"
            emit((), form, data={"name": place.secret, "value": found.value, "source": source})


def _delete(
    settings: Settings, place: Place, variable: SecretStr | None, question: str, *, yes: bool
) -> bool:
    """Delete the Secret once somebody agreed; return whether there was one."""
    from vllm_flows.secret_mode import Maker

    keeper, where = keeper_of(settings), f"in namespace {settings.namespace}"
    there = keeper.removable(place)
    if there is None:
        note(f"no {place.what} is stored {where}: nothing to delete")
        return False
    for_all = there.for_all if there.maker is Maker.SYNCED else ""  # else Vault is not touched
    if not yes:
        confirm(f"This deletes {there.everything} {where}{for_all}. {question}")
    with locked(keeper, place.verb.replace("set-", "delete-")) as guarded:
        was_there = guarded.remove(place)
    if was_there:
        note(f"{there.everything} is deleted {where}{for_all}")
    else:
        note(f"{there.objects} are deleted {where}; {there.where} held no {place.what} any more")
    if variable is not None:
        note(f"warning: {place.variable} is set: the next install stores its value")
    return True


def _warn_of_variable(place: Place, variable: SecretStr | None, stored: str) -> None:
    """Say that install would undo what was stored: the environment wins over the cluster."""
    if variable is not None and variable.get_secret_value() != stored:
        note(
            f"warning: {place.variable} is set to another value, and the next install goes by "
            "that one: unset it, also in .env"
        )
