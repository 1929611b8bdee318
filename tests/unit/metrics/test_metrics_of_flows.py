"""What flows hand over to be told: of all models, never of some as if they were all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from flows import health, watch
from vllm_flows.health import Checked, Health
from vllm_flows.metrics import MODELS, REVISION_MOVED
from vllm_flows.models import Model
from vllm_flows.revision_class import Change
from vllm_flows.revision_memory import Seen

OUTCOME = SimpleNamespace(
    health=Health(0.0, 1.0, (Checked("qwen"),)), seen=SimpleNamespace(runs=[]), memories={}
)
FOUND = SimpleNamespace(seen=[Seen("qwen", "org/qwen", "main", change=Change.WEIGHTS)])


LISTED = [Model(name="qwen", model_url="org/qwen")]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let both flows open this session, and do nothing."""
    found = SimpleNamespace(
        measured={}, settings=SimpleNamespace(timezone="UTC", namespace="ns", models_file="")
    )

    @contextmanager
    def session_for(**_: object) -> Iterator[object]:
        yield found

    for flow, stand_ins in {
        health: {"chosen": [], "check": OUTCOME, "show": None, "remember": None, "tell": None},
        watch: {
            "load_models": LISTED,
            "look": FOUND,
            "tell": None,
        },
    }.items():
        monkeypatch.setattr(flow, "session_for", session_for)
        for name, answer in stand_ins.items():
            monkeypatch.setattr(flow, name, lambda *_, answer=answer, **__: answer)
    return found


def test_a_check_of_all_models_is_told_and_one_of_some_is_not(session: Any):
    health.health.fn(["qwen"])
    assert session.measured == {}
    health.health.fn()
    assert MODELS in {one.metric for one in session.measured["health"]}


def test_a_look_at_all_revisions_is_told_and_one_at_a_repository_is_not(session: Any):
    watch.watch.fn("org/qwen")
    assert session.measured == {}
    watch.watch.fn()
    assert [one.metric for one in session.measured["revisions"]] == [REVISION_MOVED]
