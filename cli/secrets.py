"""The verbs for the Hub token and the API key: hidden input, never an argument."""

from __future__ import annotations

import secrets
import sys

import click

from cli.options import Options
from cli.output import note
from vllm_flows import manifests
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
    value = _read("Hugging Face token", "set-hf-token", from_stdin=from_stdin, given=given)
    _store(options, manifests.HF_TOKEN_SECRET, manifests.HF_TOKEN_KEY, value)


@click.command("set-api-key")
@_stdin
@click.option("--generate", is_flag=True, help="Make a random key.")
@click.pass_obj
def set_api_key(options: Options, *, from_stdin: bool, generate: bool) -> None:
    """Store the API key that protects the endpoint; install applies it to the engines.

    It is asked for without echo, or taken from VLLM_API_KEY, read with --stdin, or generated.
    """
    if generate:
        value = secrets.token_urlsafe(_GENERATED_BYTES)
    else:
        given = options.settings().api_key
        value = _read("API key", "set-api-key", from_stdin=from_stdin, given=given)
    _store(options, manifests.API_KEY_SECRET, manifests.API_KEY_KEY, value)


def _read(label: str, verb: str, *, from_stdin: bool, given: object) -> str:
    """Return the secret; raises ConfigurationError when it is empty, or nobody can be asked."""
    from pydantic import SecretStr

    if from_stdin:
        value = sys.stdin.read().strip()
    elif isinstance(given, SecretStr):
        value = given.get_secret_value()
    elif sys.stdin.isatty():
        value = str(click.prompt(label, hide_input=True, err=True)).strip()
    else:
        raise ConfigurationError(
            "there is no terminal to ask on", next_command=f"vllm-flows {verb} --stdin < FILE"
        )
    if not value.isprintable() or not value or " " in value:
        raise ConfigurationError(
            f"the {label} is empty, or has blanks or line breaks in it",
            next_command=f"vllm-flows {verb}",
        )
    return value


def _store(options: Options, name: str, key: str, value: str) -> None:
    from vllm_flows.cluster import Cluster

    settings = options.settings()
    cluster = Cluster.connect(settings.namespace, settings.kube_context)
    for body in (manifests.namespace(settings.namespace), manifests.secret(name, key, value)):
        if not manifests.already_there(cluster.get(body["kind"], body["metadata"]["name"]), body):
            cluster.apply(body)
    note(f"Secret {name} is set in namespace {settings.namespace}")
