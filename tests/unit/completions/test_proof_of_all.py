"""Many models proven at the same time: whom one completion is enough for, and whom not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from tasks import smoke
from vllm_flows.completions import Answer, NotYetError
from vllm_flows.errors import CompletionError, RouterError, VllmFlowsError
from vllm_flows.models import Model


@dataclass
class Models:
    """Stands for a session and for the proofs: who is asked how, over which way, who fails."""

    shared_api: bool = True
    failing: dict[str, VllmFlowsError] = field(default_factory=dict)
    hasty: dict[str, CompletionError] = field(default_factory=dict)
    """Those that fail only when they are asked once."""
    asked: set[str] = field(default_factory=set)
    heard: dict[str, Any] = field(default_factory=dict)
    ways: list[str] = field(default_factory=list)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def models_api(self, model: str = "") -> Iterator[str]:
        with self.mutex:
            self.ways.append(model)
        yield model or "shared"

    def prove(self, api: str, _session: object, model: Model, *, say: object) -> Answer:
        assert say
        return self.answer(f"all of {model.name} by {api}", model, self.failing)

    def ask_again(self, api: str, _session: object, model: Model) -> Answer:
        return self.answer(f"once {model.name} by {api}", model, self.hasty | self.failing)

    def answer(self, what: str, model: Model, failing: dict[str, Any]) -> Answer:
        with self.mutex:
            self.asked.add(what)
        if model.name in failing:
            raise failing[model.name]
        return Answer(model.name, "Paris", 0.1, 0.05, model.replica_count)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    found = Models()
    monkeypatch.setattr(smoke, "prove_model", found.prove)
    monkeypatch.setattr(smoke, "ask_again", found.ask_again)
    monkeypatch.setattr(smoke, "say_few", lambda *_: None)
    monkeypatch.setattr(smoke, "speaker", lambda _model: lambda _text: None)
    return found


def named(*names: str) -> list[Model]:
    return [Model(name=name, modelURL=f"org/{name}") for name in names]


def prove_all(models: Models, *names: str, proven: set[str]) -> dict[str, Any]:
    """Ask all; what is heard of each is in `models.heard`, also when it raises."""
    session: Any = models
    smoke.prove_all.fn(session, named(*names), proven, models.heard.__setitem__)
    return models.heard


def test_only_who_was_proven_as_it_is_now_is_asked_just_once(models: Models):
    found = prove_all(models, "a", "b", proven={"a", "gone"})
    assert models.asked == {"once a by shared", "all of b by shared"}
    assert found.keys() == {"a", "b"}


@pytest.mark.parametrize("kind", [CompletionError, NotYetError])
def test_a_single_answer_that_does_not_come_is_no_verdict(
    models: Models, kind: type[CompletionError]
):
    models.hasty = {"a": kind("no answer", model="a")}
    found = prove_all(models, "a", proven={"a"})
    assert models.asked == {"once a by shared", "all of a by shared"}
    assert found["a"].text == "Paris"


def test_the_first_error_is_raised_once_all_were_asked(models: Models):
    models.failing = {"b": CompletionError("bad", model="b"), "c": CompletionError("bad too")}
    with pytest.raises(CompletionError, match="bad") as caught:
        prove_all(models, "a", "b", "c", "d", proven={"b", "d"})
    assert caught.value.model == "b"
    assert {f"all of {name} by shared" for name in "abc"} <= models.asked
    assert "once d by shared" in models.asked
    assert {name: type(found) for name, found in models.heard.items()} == {
        "a": Answer,
        "b": CompletionError,
        "c": CompletionError,
        "d": Answer,
    }


def test_a_router_that_is_not_there_is_held_against_no_model(models: Models):
    models.failing = {"b": RouterError("the router does not answer")}
    with pytest.raises(RouterError):
        prove_all(models, "a", "b", proven=set())
    assert models.heard.keys() == {"a"}


def test_one_way_serves_all_models_where_they_share_one(models: Models):
    prove_all(models, "a", "b", proven={"a"})
    assert models.ways == [""]


def test_without_a_router_each_model_is_asked_at_its_own_engine(models: Models):
    models.shared_api = False
    prove_all(models, "a", "b", proven={"a"})
    assert models.asked == {"once a by a", "all of b by b"}


def test_one_model_by_itself_is_asked_everything(models: Models):
    session: Any = models
    (model,) = named("a")
    assert smoke.prove.fn(session, model).text == "Paris"
    assert models.asked == {"all of a by a"}


def test_an_answer_is_told_with_what_was_measured_and_cannot_steer_the_terminal():
    answer = Answer("a", " Pa\x1b[2Jris ", 1.5, 0.25, 2, ("a note",))
    line, note = smoke.told(answer)
    assert line.startswith("answered in 1.5 s, first token after 0.25 s, all 2 replicas: ")
    assert "\x1b" not in line
    assert note == "a note"
    assert smoke.told(Answer("a", "Paris", 1.0)) == ["answered in 1 s: 'Paris'"]
    assert smoke.told(Answer("a", "x" * 100, 1.0)) == [f"answered in 1 s: '{'x' * 60}…'"]
