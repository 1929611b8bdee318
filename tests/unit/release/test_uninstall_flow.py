"""What the flow takes away, and in which order."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from flows import uninstall
from tasks import removal
from vllm_flows.overlap import DRAINING_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALWAYS = [
    *("check_rights", "remove_release", "delete_unowned", "delete_draining"),
    *("wait_engines_gone", "delete_weights_jobs", "delete_secrets"),
]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the flow does, in its order, in a cluster that has no engine any more."""
    steps: list[str] = []
    session: Any = SimpleNamespace(cluster=SimpleNamespace(find=lambda *_: []))

    @contextmanager
    def opened(*_: object, **__: object) -> Iterator[object]:
        yield session

    def step(name: str) -> Callable[[object], None]:
        return lambda _: steps.append(name)

    for name in ("session_for", "locked_if_there"):
        monkeypatch.setattr(uninstall, name, opened)
    monkeypatch.setattr(removal, "check_rights", lambda *_, **__: steps.append("check_rights"))
    monkeypatch.setattr(uninstall, "remove_release", step("remove_release"))
    for name in (*ALWAYS[2:], "delete_weights", "delete_namespace"):
        monkeypatch.setattr(removal, name, step(name))
    return steps


def test_pods_that_a_killed_run_left_answering_are_not_waited_for(done: list[str]):
    uninstall.uninstall.fn()
    assert done == ALWAYS


def test_weights_and_namespace_go_where_that_was_asked(done: list[str]):
    uninstall.uninstall.fn(delete_weights=True, delete_namespace=True)
    assert done == [*ALWAYS, "delete_weights", "delete_namespace"]


def test_only_draining_pods_that_belong_to_nobody_are_deleted_as_such():
    deleted: list[str] = []

    def find(_kind: str, selector: str) -> list[Any]:
        assert selector == DRAINING_LABEL
        marked = {"labels": {DRAINING_LABEL: "true"}}
        return [
            {"metadata": {**marked, "name": "nobody's"}},
            {"metadata": {**marked, "name": "owned", "ownerReferences": [{"uid": "rs"}]}},
        ]

    cluster: Any = SimpleNamespace(find=find, delete=lambda _, name: deleted.append(name))
    removal.delete_draining.fn(cluster)
    assert deleted == ["nobody's"]
