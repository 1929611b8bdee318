"""Who may remove it all, and deleting the namespace, also by an account that lives in it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks import removal
from tests.support import VirtualClock
from vllm_flows.cluster import Cluster
from vllm_flows.errors import ClusterError, NoRightError
from vllm_flows.rights import Right
from vllm_flows.secret_mode import Maker


class Emptying:
    """A fake: a namespace that is there for so many looks; then it is gone, or nothing is said."""

    def __init__(self, looks: int, then: NoRightError | None) -> None:
        self.looks, self.then = looks, then

    def delete(self, _kind: str, _name: str) -> bool:
        return True

    def get(self, _kind: str, _name: str) -> dict[str, Any] | None:
        self.looks -= 1
        if self.looks >= 0:
            return {"metadata": {}}
        if self.then:
            raise self.then
        return None


@pytest.mark.parametrize("then", [None, NoRightError("no right to read Namespace models")])
def test_a_namespace_is_waited_for_until_it_is_gone_or_the_account_in_it(
    monkeypatch: pytest.MonkeyPatch, then: NoRightError | None
):
    said: list[str] = []
    monkeypatch.setattr(removal, "say", said.append)
    session: Any = SimpleNamespace(
        cluster=Emptying(2, then),
        settings=SimpleNamespace(namespace="models"),
        clock=VirtualClock(),
    )
    removal.delete_namespace.fn(session)
    assert said[0] == "namespace models is being emptied"
    assert said[-1] == "namespace models deleted"


def checked(
    monkeypatch: pytest.MonkeyPatch, refused: set[str], maker: Maker, *, delete_namespace: bool
) -> None:
    """Ask whether an account may remove all that may not do what is `refused` (by its text)."""

    def missing(_: Cluster, rights: list[Right]) -> list[Right]:
        if "anything" in refused:
            raise ClusterError("the API does not tell")
        return [right for right in rights if str(right) in refused]

    monkeypatch.setattr(removal, "missing_rights", missing)
    monkeypatch.setattr(removal, "user_name", lambda _: "jane")
    session: Any = SimpleNamespace(
        cluster=None,
        settings=SimpleNamespace(namespace="models"),
        keeper=lambda _: SimpleNamespace(look=lambda _: SimpleNamespace(maker=maker)),
    )
    removal.check_rights.fn(session, delete_namespace=delete_namespace)


@pytest.mark.parametrize("verb", ["get", "delete"])
def test_who_may_not_take_external_secrets_away_removes_nothing(
    monkeypatch: pytest.MonkeyPatch, verb: str
):
    with pytest.raises(NoRightError, match=f"may not {verb} externalsecrets in models") as caught:
        checked(monkeypatch, {f"{verb} externalsecrets"}, Maker.SYNCED, delete_namespace=False)
    assert caught.value.why == "nothing was removed"
    assert "external-secrets/role.yaml" in caught.value.next_command


def test_where_nothing_is_made_from_vault_nobody_needs_these_rights(
    monkeypatch: pytest.MonkeyPatch,
):
    checked(monkeypatch, {"delete externalsecrets"}, Maker.US, delete_namespace=False)


def test_who_may_not_delete_the_namespace_removes_nothing_when_it_is_to_go(
    monkeypatch: pytest.MonkeyPatch,
):
    refused = {"delete namespaces"}
    with pytest.raises(NoRightError, match="jane may not delete namespace models") as caught:
        checked(monkeypatch, refused, Maker.US, delete_namespace=True)
    assert "deleting-namespace" in caught.value.next_command
    checked(monkeypatch, refused, Maker.US, delete_namespace=False)


def test_where_the_api_does_not_tell_it_is_tried(monkeypatch: pytest.MonkeyPatch):
    checked(monkeypatch, {"anything"}, Maker.SYNCED, delete_namespace=True)
