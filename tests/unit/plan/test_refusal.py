"""What is said of rights that a change would lack."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vllm_flows import session as sessions
from vllm_flows.errors import ClusterError
from vllm_flows.rights import Right
from vllm_flows.session import Session
from vllm_flows.settings import load_settings

ROLES = Right("create", "rbac.authorization.k8s.io", "roles")


def opened(monkeypatch: pytest.MonkeyPatch, missing: Callable[[], list[Right]]) -> Session:
    monkeypatch.setattr(sessions, "missing_rights", lambda *_: missing())
    monkeypatch.setattr(sessions, "user_name", lambda _cluster: "jane")
    nobody: Any = None
    return Session(load_settings(namespace="models"), nobody, nobody, nobody)


def test_missing_rights_are_named_with_the_command_that_grants_them(
    monkeypatch: pytest.MonkeyPatch,
):
    found = opened(monkeypatch, lambda: [ROLES]).refusal()
    assert found
    assert found.what == "jane may not, in models: create roles"
    assert "access/role.yaml && kubectl -n models create rolebinding" in found.next_command


def test_missing_rights_to_remove_are_named_the_same(monkeypatch: pytest.MonkeyPatch):
    services = Right("delete", "", "services")
    found = opened(monkeypatch, lambda: [services]).refusal_to_remove()
    assert found
    assert found.what == "jane may not, in models: delete services"


def test_who_may_do_it_all_is_not_refused(monkeypatch: pytest.MonkeyPatch):
    assert opened(monkeypatch, list).refusal() is None


def test_where_the_api_does_not_tell_nobody_is_refused(monkeypatch: pytest.MonkeyPatch):
    def silent() -> list[Right]:
        raise ClusterError("no such path")

    assert opened(monkeypatch, silent).refusal() is None
