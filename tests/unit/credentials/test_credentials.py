from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import SecretStr

from vllm_flows import credentials
from vllm_flows.credentials import API_KEY, HF_TOKEN
from vllm_flows.errors import ConfigurationError, NoSecretError


class OneNamespace:
    """A stand-in for the cluster: keeps what is applied."""

    namespace = "vllm"

    def __init__(self, *items: Mapping[str, Any]) -> None:
        self.items = {(item["kind"], item["metadata"]["name"]): dict(item) for item in items}
        self.writes = 0

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        return self.items.get((kind, name))

    def apply(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        stored = dict(body)
        plain = stored.pop("stringData", {})
        stored["data"] = {
            key: base64.b64encode(text.encode()).decode() for key, text in plain.items()
        }
        self.items[body["kind"], body["metadata"]["name"]] = stored
        self.writes += 1
        return body

    def delete(self, kind: str, name: str) -> bool:
        self.writes += 1
        return self.items.pop((kind, name), None) is not None


def a_secret(value: bytes, **labels: str) -> dict[str, Any]:
    return {
        "kind": "Secret",
        "metadata": {"name": "hf-token", "labels": labels},
        "data": {"token": base64.b64encode(value).decode()},
    }


def read(cluster: Any, given: str | None = None) -> credentials.Credential | None:
    return credentials.read(cluster, HF_TOKEN, SecretStr(given) if given is not None else None)


def test_the_environment_wins_over_the_secret():
    cluster = OneNamespace(a_secret(b"stored"))
    found = read(cluster, "given")
    assert found
    assert (found.value, found.source, found.stored) == ("given", "VLLM_HF_TOKEN", False)


def test_a_value_that_was_given_otherwise_is_named_by_where_it_came_from():
    cluster: Any = OneNamespace(a_secret(b"theirs", **{"app.kubernetes.io/managed-by": "else"}))
    found = credentials.read(cluster, HF_TOKEN, SecretStr("given"), "your input")
    assert found
    assert found.source == "your input"
    with pytest.raises(ConfigurationError, match="your input holds no usable value"):
        credentials.read(cluster, HF_TOKEN, SecretStr("a b"), "your input")


def test_without_either_there_is_none():
    assert read(OneNamespace()) is None
    assert read(OneNamespace({**a_secret(b"x"), "data": {"other": "eA=="}})) is None


def test_a_line_break_at_the_end_of_a_secret_is_no_part_of_the_token():
    found = read(OneNamespace(a_secret(b"hf_token\n")))
    assert found
    assert (found.value, found.stored) == ("hf_token", True)


@pytest.mark.parametrize(
    "value", [b"hf_canary\nX: y", b"hf canary", "hf_canaryé".encode(), b"\xff\xfe"]
)
def test_a_value_that_no_header_can_hold_is_refused_without_being_shown(value: bytes):
    with pytest.raises(ConfigurationError) as caught:
        read(OneNamespace(a_secret(value)))
    assert "Secret hf-token holds no usable value" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_an_empty_value_is_refused_with_the_command_that_sets_one():
    with pytest.raises(ConfigurationError) as caught:
        read(OneNamespace(), " ")
    assert "vllm-flows set-hf-token" in caught.value.next_command


def test_a_new_value_is_stored_once():
    cluster: Any = OneNamespace()
    first = read(cluster, "one")
    assert first
    assert credentials.store(cluster, HF_TOKEN, first)
    again = read(cluster, "one")
    assert again
    assert not credentials.store(cluster, HF_TOKEN, again)
    other = read(cluster, "two")
    assert other
    assert credentials.store(cluster, HF_TOKEN, other)


def test_a_secret_that_somebody_else_made_is_used_and_never_overwritten():
    cluster: Any = OneNamespace(a_secret(b"theirs", **{"app.kubernetes.io/managed-by": "vault"}))
    same = read(cluster)
    assert same
    assert not credentials.store(cluster, HF_TOKEN, same)
    other = read(cluster, "mine")
    assert other
    with pytest.raises(ConfigurationError, match="vault"):
        credentials.store(cluster, HF_TOKEN, other)
    assert cluster.writes == 0


OURS = {"app.kubernetes.io/managed-by": "vllm-flows"}


def test_what_is_stored_is_told_and_what_is_not_is_an_error_with_the_command_that_stores_it():
    cluster: Any = OneNamespace(a_secret(b"there", **OURS))
    assert credentials.stored(cluster, HF_TOKEN).value == "there"
    with pytest.raises(NoSecretError, match="no API key is stored in namespace vllm") as caught:
        credentials.stored(cluster, API_KEY)
    assert caught.value.next_command.startswith("vllm-flows set-api-key")


def test_a_namespace_that_is_there_keeps_its_labels():
    there = {"kind": "Namespace", "metadata": {"name": "vllm", "labels": {"owner": "else"}}}
    cluster: Any = OneNamespace(there)
    assert not credentials.ensure_namespace(cluster)
    assert cluster.writes == 0
    fresh: Any = OneNamespace()
    assert credentials.ensure_namespace(fresh)


def test_no_representation_shows_the_value():
    found = credentials.Credential("canary", "Secret", stored=True)
    assert "canary" not in repr(found)


def test_both_places_have_the_names_of_the_readme():
    assert (HF_TOKEN.secret, HF_TOKEN.key) == ("hf-token", "token")
    assert (API_KEY.secret, API_KEY.key) == ("vllm-api-key", "api-key")
