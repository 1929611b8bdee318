"""Deleting the namespace, also by an account that lives in it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tasks import removal
from tests.support import VirtualClock
from vllm_flows.errors import NoRightError


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
