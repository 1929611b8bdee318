"""The Hub token and the API key: read, checked, stored; never shown, never taken from others.

A value that cannot stand in an HTTP header is refused here, by the name of where it came from:
further on, libraries would quote it in their errors. Whoever uses a value reads the Secret, by the
functions here; `keeping` sets and deletes one, also where it is made from Vault.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from vllm_flows import manifests
from vllm_flows.cluster import Cluster
from vllm_flows.errors import ConfigurationError, NoSecretError
from vllm_flows.external_secrets import controller, is_ours
from vllm_flows.observed import MANAGED_BY
from vllm_flows.redaction import collect


@dataclass(frozen=True)
class Place:
    """Where one kind of secret lives: the Secret, its key, the variable that overrides it.

    `what` is its name for people, `verb` the command that stores it. Where Vault keeps it, the
    ExternalSecret `external` makes the Secret from the path of the setting `path_setting`.
    """

    what: str
    secret: str
    key: str
    variable: str
    verb: str
    external: str
    path_setting: str


HF_TOKEN = Place(
    "Hugging Face token",
    manifests.HF_TOKEN_SECRET,
    manifests.HF_TOKEN_KEY,
    "VLLM_HF_TOKEN",
    "set-hf-token",
    "hf-token-external-secret",
    "vault_hf_token_path",
)
API_KEY = Place(
    "API key",
    manifests.API_KEY_SECRET,
    manifests.API_KEY_KEY,
    "VLLM_API_KEY",
    "set-api-key",
    "vllm-api-key-external-secret",
    "vault_api_key_path",
)
PLACES = (HF_TOKEN, API_KEY)


@dataclass(frozen=True)
class Credential:
    """A value in use, and where it came from.

    `stored` says that the Secret holds this very value already.
    """

    value: str = field(repr=False)
    source: str
    stored: bool


def read(
    cluster: Cluster, place: Place, given: SecretStr | None, source: str = ""
) -> Credential | None:
    """Return what is in use: `given` or the Secret's; None without either.

    What is given is the environment's, or `source` says whose.

    Raises ConfigurationError for a value that cannot be sent.
    """
    existing = cluster.get("Secret", place.secret)
    there = value_in(existing, place)
    if given is not None:
        value = checked(given.get_secret_value(), source or place.variable, place)
    elif there is not None:
        value = checked(there, f"Secret {place.secret}", place)
    else:
        return None
    stored = given is None or there == value
    given_by = source or place.variable
    return Credential(value, given_by if given is not None else f"Secret {place.secret}", stored)


def stored(cluster: Cluster, place: Place) -> Credential:
    """Return what the cluster holds, whatever the environment says.

    Raises NoSecretError when it holds none, and ConfigurationError for a value that cannot be sent.
    """
    found = read(cluster, place, None)
    if found is None:
        raise NoSecretError(
            f"no {place.what} is stored in namespace {cluster.namespace}",
            why=f"there is no Secret {place.secret} with the key {place.key!r}",
            next_command=f"vllm-flows {place.verb}   (or name another --namespace)",
        )
    return found


def checked(value: str, source: str, place: Place) -> str:
    """Return the value without surrounding blanks.

    Raises ConfigurationError, without the value, when it is empty or has characters inside that
    no token has.
    """
    text = value.strip()
    collect(text)
    if text and text.isascii() and text.isprintable() and " " not in text:
        return text
    unset = f"   (with {place.variable} unset or corrected)" if source == place.variable else ""
    raise ConfigurationError(
        f"{source} holds no usable value",
        why="it is empty, or has blanks, line breaks or other characters that no token has",
        next_command=f"vllm-flows {place.verb}{unset}",
    )


def store(cluster: Cluster, place: Place, credential: Credential) -> bool:
    """Bring the Secret to the value; return whether anything was written.

    Raises ConfigurationError when the Secret was made by somebody else.
    """
    if credential.stored:
        return False
    existing = cluster.get("Secret", place.secret)
    if existing is not None and not is_ours(existing):
        raise not_ours_to_change(owner(existing), place, cluster, credential.source)
    cluster.apply(manifests.secret(place.secret, place.key, credential.value))
    return True


@dataclass(frozen=True)
class Owner:
    """Who made what is not ours, for people; `item` is what makes it, as kubectl takes it.

    Without an `item` nothing is known to make it again; without being `named` it may be a person's.
    """

    text: str
    item: str = ""
    named: bool = True


def owner(existing: Mapping[str, Any]) -> Owner:
    """Say who made a Secret that is not ours: what controls it, else what its label names."""
    found = controller(existing)
    if found:
        kind, _, name = found.partition(" ")
        return Owner(found, f"{kind.lower()} {name}")
    label = (existing["metadata"].get("labels") or {}).get("app.kubernetes.io/managed-by")
    return Owner(str(label)) if label else Owner("it carries no label of its maker", named=False)


def not_ours_to_change(
    owner: Owner, place: Place, cluster: Cluster, source: str
) -> ConfigurationError:
    """Return the error that somebody else keeps another value in the Secret than `source` gave."""
    kubectl = f"kubectl -n {cluster.namespace}"
    unset = f"; or unset {place.variable}" if source == place.variable else ""
    what = f"Secret {place.secret} was not made by vllm-flows and holds another value"
    if not owner.named:
        advice = f"{_made_ours(place, cluster)}; or change it where it comes from{unset})"
        return ConfigurationError(what, why=owner.text, next_command=advice)
    return ConfigurationError(
        what,
        why=f"its owner would change it back: {owner.text}",
        next_command=f"{kubectl} describe {owner.item}   (the value is to be changed where that "
        f"has it from{unset})"
        if owner.item
        else f"{kubectl} delete secret {place.secret}   (then run this again; or change it where "
        f"it comes from{unset})",
    )


def not_ours(owner: Owner, place: Place, cluster: Cluster) -> ConfigurationError:
    """Return the error that the Secret is somebody else's; it may be the only copy of its value."""
    what = f"Secret {place.secret} was not made by vllm-flows"
    if not owner.named:
        advice = f"{_made_ours(place, cluster)})"
        return ConfigurationError(what, why=owner.text, next_command=advice)
    item = owner.item or f"secret {place.secret}"
    takes = f"   (which takes Secret {place.secret} with it)" if owner.item else ""
    first = "" if owner.item else f"vllm-flows {place.verb.replace('set-', 'get-')} > FILE, then "
    return ConfigurationError(
        what,
        why=f"its owner would make it again: {owner.text}",
        next_command=f"{first}remove it where it comes from, or: "
        f"kubectl -n {cluster.namespace} delete {item}{takes}",
    )


def _made_ours(place: Place, cluster: Cluster) -> str:
    """Return the command by which a Secret counts as ours, up to the end of what it explains."""
    label = ",".join(f"{key}={value}" for key, value in MANAGED_BY.items())
    return (
        f"kubectl -n {cluster.namespace} label secret {place.secret} {label}   (then it is ours: "
        "run this again"
    )


def ensure_namespace(cluster: Cluster) -> bool:
    """Make the namespace if there is none; return whether it was made.

    One that is there keeps its labels: its owner decided on its Pod Security.
    """
    if cluster.get("Namespace", cluster.namespace) is not None:
        return False
    cluster.apply(manifests.namespace(cluster.namespace))
    return True


def value_in(existing: Mapping[str, Any] | None, place: Place) -> str | None:
    """Return what a Secret holds under the place's key; None without."""
    data = (existing or {}).get("data") or {}
    if place.key not in data:
        return None
    value = base64.b64decode(data[place.key]).decode("utf-8", "replace")
    collect(value)
    return value
