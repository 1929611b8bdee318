"""The environments of the programs that we start: without secrets that they do not need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from pydantic import SecretStr

from vllm_flows.addresses import passwords_in
from vllm_flows.settings import PREFIX, Settings

_OF_THE_HUB = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}
_OF_PREFECT = {"PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"}


def environment_for_others(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a program that has no business with our secrets.

    `VAULT_TOKEN` stays: some log in to the cluster by way of Vault, also under helm and kubectl.
    """
    return _without(environ, _OF_THE_HUB | _OF_PREFECT)


def environment_for_prefect(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for Prefect's own programs, which log in nowhere but to Prefect."""
    return _without(environ, _OF_THE_HUB | {"VAULT_TOKEN"})


def _without(environ: Mapping[str, str], others: set[str]) -> dict[str, str]:
    """Leave out our secrets, and those of other tools that are named."""
    secret = others | {
        PREFIX + name.upper()
        for name, field in Settings.model_fields.items()
        if SecretStr in get_args(field.annotation)
    }
    return {
        name: value
        for name, value in environ.items()
        if name not in secret and not (name.startswith(PREFIX) and passwords_in(value))
    }
