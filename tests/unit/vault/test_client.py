"""A request to Vault goes out as the settings say, with an end in sight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.unit.vault.conftest import ADDRESS, TOKEN
from vllm_flows import vault_client
from vllm_flows.errors import VaultError
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


def redirecting(monkeypatch: pytest.MonkeyPatch, *targets: str) -> list[str]:
    """Answer requests with one redirect after the other, then with 204; return who was asked."""
    asked_for: list[str] = []

    def send(_: HTTPAdapter, request: requests.PreparedRequest, **_given: Any) -> requests.Response:
        response = requests.Response()
        response.request, response.url, response.status_code = request, str(request.url), 204
        if len(asked_for) < len(targets):
            response.status_code = 307
            response.headers["Location"] = targets[len(asked_for)]
        asked_for.append(response.url)
        assert request.headers["X-Vault-Token"] == TOKEN
        response._content = b""  # noqa: SLF001 -- how requests itself fills it
        return response

    monkeypatch.setattr(HTTPAdapter, "send", send)
    return asked_for


def ask_as(access: Access) -> None:
    client = vault_client.client_of(access)
    client.token = TOKEN
    vault_client.ask(access, lambda: client.adapter.get("/v1/sys/health"))


@pytest.mark.parametrize(
    "targets",
    [
        ["http://vault.example.com:8200/v1/sys/health"],
        ["HTTP://other.example.com/"],
        ["//standby.example.com/v1", "http://vault.example.com/v1"],
    ],
)
def test_a_token_does_not_follow_from_https_to_http(
    access: Access, monkeypatch: pytest.MonkeyPatch, targets: list[str]
):
    asked_for = redirecting(monkeypatch, *targets)
    with pytest.raises(VaultError, match="sends requests on to http://") as caught:
        ask_as(access)
    assert "it was not sent there" in caught.value.why
    assert all(url.startswith("https://") for url in asked_for)


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (ADDRESS, "https://active.example.com/v1/sys/health"),
        (ADDRESS, "/v1/sys/leader"),
        ("http://vault:8200", "http://active:8200/v1/sys/health"),
        ("http://vault:8200", "https://active:8200/v1/sys/health"),
    ],
)
def test_it_follows_a_standby_to_the_active_node(
    access: Access, monkeypatch: pytest.MonkeyPatch, address: str, target: str
):
    asked_for = redirecting(monkeypatch, target)
    ask_as(replace(access, address=address))
    assert len(asked_for) == 2
