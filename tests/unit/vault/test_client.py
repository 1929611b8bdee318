"""A request to Vault goes out as the settings say, with an end in sight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.unit.vault.conftest import ADDRESS, TOKEN
from vllm_flows import vault_client
from vllm_flows.vault_access import Access
from vllm_flows.vault_refusals import RIGHTS, policy

SHIPPED = Path(__file__).parents[3] / "deployments" / "vault"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what requests would send."""
    found: list[dict[str, Any]] = []

    def request(_: requests.Session, **given: Any) -> requests.Response:
        found.append(given)
        response = requests.Response()
        response.status_code = 204
        return response

    monkeypatch.setattr(requests.Session, "request", request)
    return found


def asked(access: Access) -> None:
    vault_client.client_of(access).adapter.get("/v1/sys/health")


def test_a_certificate_is_always_checked_and_no_answer_waited_for_without_end(
    access: Access, sent: list[dict[str, Any]]
):
    asked(access)
    asked(replace(access, ca_cert="/ca.pem"))
    assert [one["verify"] for one in sent] == [True, "/ca.pem"]
    assert [one["timeout"] for one in sent] == [(5.0, 10.0)] * 2


def test_the_namespace_is_named_where_there_is_one(access: Access, sent: list[dict[str, Any]]):
    asked(access)
    asked(replace(access, namespace="team"))
    assert [one["headers"].get("X-Vault-Namespace") for one in sent] == [None, "team"]


def test_before_a_login_no_token_is_sent_though_the_library_would_find_one(
    access: Access, sent: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    (tmp_path / ".vault-token").write_text(TOKEN)
    asked(replace(access, address=ADDRESS))
    assert not sent[0]["headers"].get("X-Vault-Token")


def test_the_policy_that_a_refusal_asks_for_is_the_shipped_one():
    words = (SHIPPED / "vllm-flows.hcl").read_text().split()
    asked_for = policy("secret/data/vllm/huggingface", "secret/data/vllm/api-key")
    assert set(asked_for.split()) <= set(words)
    assert words.count("capabilities") == len(asked_for.splitlines())
    assert {word.strip('",[]') for word in words} >= set(RIGHTS)
