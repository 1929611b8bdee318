from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest

from sandbox.agent.api import Api, ApiError
from sandbox.external_secrets import vault
from sandbox.external_secrets.vault import MissingError, Session, VaultError

Object = dict[str, Any]
REMOTE = {"key": "vllm/hf", "property": "token"}


def session(answer: Callable[[httpx.Request], httpx.Response], **provider: str) -> Session:
    client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://vault/v1/")
    return Session(client, {"path": "secret"} | provider)


def stored(values: object) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _request: httpx.Response(200, json={"data": {"data": values}})


@pytest.mark.parametrize(
    ("provider", "key", "path"),
    [
        ({}, "vllm/hf", "secret/data/vllm/hf"),
        ({}, "secret/vllm/hf", "secret/data/vllm/hf"),
        ({}, "secret/data/vllm/hf", "secret/data/vllm/hf"),
        ({"path": "team/kv"}, "vllm/hf", "team/kv/data/vllm/hf"),
        ({"path": ""}, "secret/vllm/hf", "secret/data/vllm/hf"),
        ({"version": "v1"}, "vllm/hf", "secret/vllm/hf"),
    ],
)
def test_a_key_is_looked_for_where_the_operator_looks(
    provider: dict[str, str], key: str, path: str
) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, json={"data": {"data": {"token": "a"}, "token": "a"}})

    session(answer, **provider).value({"key": key, "property": "token"})
    assert asked == [f"/v1/{path}"]


@pytest.mark.parametrize(
    ("values", "remote", "expected"),
    [
        ({"token": "a"}, REMOTE, b"a"),
        ({"token": 5}, REMOTE, b"5"),
        ({"token": "a"}, {"key": "k"}, b'{"token": "a"}'),
    ],
)
def test_a_value_is_the_property_or_everything_as_json(
    values: Object, remote: Object, expected: bytes
) -> None:
    assert session(stored(values)).value(remote) == expected


def test_a_missing_property_is_named() -> None:
    with pytest.raises(VaultError, match='cannot find secret data for key: "token"'):
        session(stored({"other": "a"})).value(REMOTE)


@pytest.mark.parametrize("body", [{"errors": []}, {"data": {"data": None, "metadata": {}}}])
def test_what_is_not_there_or_deleted_is_missing(body: Object) -> None:
    with pytest.raises(MissingError, match="Secret does not exist"):
        session(lambda _request: httpx.Response(404, json=body)).value(REMOTE)


def test_a_mount_of_another_version_is_told() -> None:
    warned = {"warnings": ["Invalid path for a versioned K/V secrets engine."]}
    with pytest.raises(VaultError, match="failed to find data field"):
        session(lambda _request: httpx.Response(404, json=warned)).value(REMOTE)


def test_a_refusal_is_told_as_vaults_own_client_tells_it() -> None:
    refused = httpx.Response(403, json={"errors": ["permission denied"]})
    with pytest.raises(VaultError) as told:
        session(lambda _request: refused).value(REMOTE)
    assert str(told.value) == (
        "cannot read secret data from Vault: Error making API request.\n\n"
        "URL: GET http://vault/v1/secret/data/vllm/hf\nCode: 403. Errors:\n\n* permission denied"
    )


class Cluster:
    """It holds the given Secrets."""

    def __init__(self, secrets: dict[str, dict[str, str]]) -> None:
        self.secrets = secrets

    def get(self, path: str) -> Object:
        if path not in self.secrets:
            raise ApiError(404, f'secrets "{path.rpartition("/")[2]}" not found')
        data = self.secrets[path]
        return {"data": {key: base64.b64encode(text.encode()) for key, text in data.items()}}


def credentials(kind: str = "ClusterSecretStore") -> vault.Credentials:
    held = {
        "/api/v1/namespaces/eso/secrets/vault": {"token": "hvs.cluster"},
        "/api/v1/namespaces/ns/secrets/vault": {"token": "hvs.own"},
    }
    return vault.Credentials(cast("Api", Cluster(held)), {"kind": kind}, "ns")


def test_only_a_clusters_store_reads_credentials_elsewhere() -> None:
    reference = {"name": "vault", "namespace": "eso", "key": "token"}
    assert credentials().read(reference) == "hvs.cluster"
    assert credentials("SecretStore").read(reference) == "hvs.own"


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ({"name": "none", "key": "token"}, 'cannot get Kubernetes secret "none" from namespace'),
        ({"name": "vault", "key": "other"}, 'cannot find secret data for key: "other"'),
    ],
)
def test_a_missing_credential_is_named(reference: Object, text: str) -> None:
    with pytest.raises(VaultError, match=text):
        credentials().read(reference)


def test_values_that_are_no_text_are_json() -> None:
    assert json.loads(vault.as_bytes({"a": [1]})) == {"a": [1]}
