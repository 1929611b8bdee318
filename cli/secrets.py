"""The verbs for the Hub token and the API key: hidden input, never an argument."""

from __future__ import annotations

import secrets
import sys

import click
from pydantic import SecretStr

from cli.options import Options
from cli.output import note
from vllm_flows import credentials
from vllm_flows.cluster import Cluster
from vllm_flows.credentials import Place
from vllm_flows.errors import ConfigurationError

_GENERATED_BYTES = 32
_stdin = click.option("--stdin", "from_stdin", is_flag=True, help="Read it from standard input.")


@click.command("set-hf-token")
@_stdin
@click.pass_obj
def set_hf_token(options: Options, *, from_stdin: bool) -> None:
    """Store a Hugging Face token in the cluster, for gated models.

    It is asked for without echo, or taken from VLLM_HF_TOKEN, or read with --stdin.
    """
    given = options.settings().hf_token
    value = _read("Hugging Face token", credentials.HF_TOKEN, given, from_stdin=from_stdin)
    _store(options, credentials.HF_TOKEN, value)


@click.command("set-api-key")
@_stdin
@click.option("--generate", is_flag=True, help="Make a random key.")
@click.pass_obj
def set_api_key(options: Options, *, from_stdin: bool, generate: bool) -> None:
    """Store the API key that protects the endpoint; install applies it to the engines.

    It is asked for without echo, or taken from VLLM_API_KEY, read with --stdin, or generated.
    """
    if generate:
        value = SecretStr(secrets.token_urlsafe(_GENERATED_BYTES))
    else:
        given = options.settings().api_key
        value = _read("API key", credentials.API_KEY, given, from_stdin=from_stdin)
    _store(options, credentials.API_KEY, value)


def _read(label: str, place: Place, given: SecretStr | None, *, from_stdin: bool) -> SecretStr:
    """Return the secret; raises ConfigurationError when nobody can be asked."""
    if from_stdin:
        return SecretStr(sys.stdin.read())
    if given is not None:
        note(f"taken from {place.variable}")
        return given
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "there is no terminal to ask on",
            next_command=f"vllm-flows {place.verb} --stdin < FILE",
        )
    return SecretStr(str(click.prompt(label, hide_input=True, err=True)))


def _store(options: Options, place: Place, value: SecretStr) -> None:
    credentials.checked(value.get_secret_value(), "what was given", place)
    settings = options.settings()
    cluster = Cluster.connect(settings.namespace, settings.kube_context)
    credentials.ensure_namespace(cluster)
    credential = credentials.read(cluster, place, value)
    changed = credential is not None and credentials.store(cluster, place, credential)
    state = "is set" if changed else "holds that value already"
    note(f"Secret {place.secret} {state} in namespace {settings.namespace}")
