"""A Vault that answers as the real one does, behind the real hvac, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import hvac
import pytest
import requests

from vllm_flows import vault, vault_client, vault_login
from vllm_flows.vault_access import Access, TokenLogin

TOKEN = "hvs.canary-token"
ADDRESS = "https://vault.example.com:8200"
Answer = tuple[int, Any]


@dataclass
class Server:
    """Tokens, one KV engine with versions, and what else is asked; `asked` is what came.

    `answers` are given instead, by method and path; one that is an exception is raised.
    """

    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: dict[str, list[dict[str, Any] | None]] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    health: dict[str, Any] = field(
        default_factory=lambda: {"initialized": True, "sealed": False, "version": "1.17.0"}
    )
    mount: dict[str, Any] = field(
        default_factory=lambda: {"type": "kv", "options": {"version": "2"}}
    )
    before_write: Callable[[], None] = lambda: None

    def request(self, method: str, url: str, **given: Any) -> requests.Response:
        """Answer as `requests.Session.request` does."""
        path = url.removeprefix(f"{ADDRESS}/v1/")
        self.asked.append(f"{method.upper()} {path}")
        answer = self.answers.get(f"{method.upper()} {path}")
        if isinstance(answer, BaseException):
            raise answer
        status, body = answer or self._answer(method.upper(), path, given)
        response = requests.Response()
        response.status_code = status
        response.headers["Content-Type"] = (
            "text/plain" if isinstance(body, str) else "application/json"
        )
        response._content = (body if isinstance(body, str) else json.dumps(body)).encode()  # noqa: SLF001 -- how requests itself fills it
        return response

    def close(self) -> None:
        """Nothing is open."""

    verify, cert, proxies = True, None, None

    def put(self, path: str, **values: str) -> None:
        """Write as somebody else."""
        self.kept.setdefault(path, []).append(dict(values))

    def _answer(self, method: str, path: str, given: dict[str, Any]) -> Answer:
        if path == "sys/health":
            return (503 if self.health.get("sealed") else 200), self.health
        if self.health.get("sealed") or not self.health["initialized"]:
            return 503, {"errors": ["Vault is sealed"]}
        token = self.tokens.get(given["headers"].get("X-Vault-Token", ""))
        if token is None:
            return 403, {"errors": ["permission denied"]}
        if path == "auth/token/lookup-self":
            return 200, {"data": token}
        if path == "sys/internal/ui/mounts/secret":
            return 200, {"data": self.mount}
        return self._kv(method, path.removeprefix("secret/data/"), given.get("json") or {})

    def _kv(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        versions = self.kept.get(path, [])
        if method == "GET":
            if not versions:
                return 404, {"errors": []}
            metadata = {"version": len(versions), "deletion_time": "", "destroyed": False}
            found = {"data": {"data": versions[-1], "metadata": metadata}}
            return (404 if versions[-1] is None else 200), found
        self.before_write()
        versions = self.kept.get(path, [])
        if body["options"].get("cas") != len(versions):
            text = "check-and-set parameter did not match the current version"
            return 400, {"errors": [text]}
        self.put(path, **body["data"])
        return 200, {"data": {"version": len(versions) + 1}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Put the stand-in below hvac."""
    made = Server(tokens={TOKEN: {"policies": ["default", "vllm"], "ttl": 0}})
    for module in (vault, vault_client):
        monkeypatch.setattr(
            module,
            "client_of",
            lambda access: hvac.Client(access.address, token="", session=made),
        )
    monkeypatch.setattr(vault_login, "_unwrapped", {})
    yield made
    assert "canary" not in " ".join(made.asked)


@pytest.fixture
def access() -> Access:
    return Access(ADDRESS, "", "", "secret", TokenLogin(TOKEN, "VLLM_VAULT_TOKEN"))
