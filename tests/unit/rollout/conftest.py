"""Stand-ins in place of the tasks of a run that changes the release."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flows import update
from tests.unit.rollout.stand_ins import Tasks, aim
from tests.unit.rollout.updating import BOTH, SERVING, Trial, Word, a_verdict, session


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Tasks:
    found = Tasks()
    found.put_in_place(monkeypatch)
    return found


@pytest.fixture
def chart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the settings' chart be the one that is deployed."""
    monkeypatch.setattr("vllm_flows.desired.locate_chart", lambda _: aim(*BOTH).chart)


@pytest.fixture
def trial(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> Trial:
    found = Trial(tasks)

    @contextmanager
    def session_for(**_: object) -> Iterator[object]:
        yield session(tasks)

    @contextmanager
    def locked(given: object, verb: str) -> Iterator[object]:
        tasks.done.append(f"lock for {verb}")
        yield given

    for name, stand_in in {
        "session_for": session_for,
        "locked_in_turn": locked,
        "load_models": lambda _: [*BOTH],
        "check_access": lambda _, models: [a_verdict(models[0].name)],
        "observe_cluster": lambda _: SERVING,
        "show_plan": lambda _: None,
        "bring_weights": lambda _: tasks.done.append("weights"),
        "tried": found.tried,
        "wait_trial": found.wait,
        "compare": found.compare,
        "remember_refused": found.refuse,
        "publish": lambda *_: None,
        "say": tasks.said.append,
    }.items():
        monkeypatch.setattr(update, name, stand_in)
    monkeypatch.setattr("flows.deploy.publish", lambda *_: None)
    monkeypatch.setattr("flows.permitting.end_older_forms", lambda *_: None)
    monkeypatch.setattr("flows.permitting.was_asked", lambda *_: False)
    monkeypatch.setattr("flows.outcomes.ready_now", lambda _: [])
    monkeypatch.setattr("flows.outcomes.prove_all", lambda *_: None)
    return found


@pytest.fixture
def word(monkeypatch: pytest.MonkeyPatch) -> Word:
    found = Word()
    monkeypatch.setattr(update, "permitted", found.permitted)
    monkeypatch.setattr("flows.permitting.say", lambda _: None)
    return found
