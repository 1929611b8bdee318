"""The mark that tells pods with another API key apart, and tells nobody the key."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.unit.credentials.test_credentials import OneNamespace
from vllm_flows.key_mark import keyed_digest, mark_of, save
from vllm_flows.manifests import DIGEST_KEY_SECRET


def test_the_same_key_has_the_same_mark_whoever_stored_it_and_another_has_another():
    cluster: Any = OneNamespace()
    first = mark_of(cluster, "sk-one")
    assert save(cluster, first)
    again, other = mark_of(cluster, "sk-one"), mark_of(cluster, "sk-two")
    assert again.digest == first.digest
    assert other.digest != first.digest
    assert not save(cluster, again)
    assert cluster.writes == 1


def test_two_namespaces_with_the_same_key_have_marks_of_their_own():
    one, two = (mark_of(OneNamespace(), "sk-one") for _ in range(2))  # type: ignore[arg-type]
    assert one.digest != two.digest


@pytest.mark.parametrize("data", [{}, {"key": ""}, None])
def test_a_secret_without_the_key_of_the_digest_gets_one(data: dict[str, str] | None):
    there = {"kind": "Secret", "metadata": {"name": DIGEST_KEY_SECRET}, "data": data}
    cluster: Any = OneNamespace(there)
    assert save(cluster, mark_of(cluster, "sk-one"))
    assert base64.b64decode(cluster.get("Secret", DIGEST_KEY_SECRET)["data"]["key"])


def test_neither_key_is_shown():
    cluster: Any = OneNamespace()
    mark = mark_of(cluster, "sk-canary")
    assert "sk-canary" not in repr(mark)
    assert mark.unsaved not in repr(mark)
    assert len(mark.unsaved) == 64
    assert mark.digest == keyed_digest("sk-canary", mark.unsaved)
