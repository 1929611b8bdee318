"""A rollback by hand: what is proven and remembered, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest

from flows import overlapping, prune, rollback, waits
from vllm_flows.earlier import Change, WayThere
from vllm_flows.errors import (
    CompletionError,
    NotReadyError,
    RolloutError,
    RouterError,
    StalePlanError,
)
from vllm_flows.going_back import Past, WayBack
from vllm_flows.models import Model
from vllm_flows.observed import WeightsClaim
from vllm_flows.pruning import Pruning
from vllm_flows.rollout import Rollout, Strategy
from vllm_flows.session import Session
from vllm_flows.settings import load_settings
from vllm_flows.waiting import StoppableClock
from vllm_flows.waves import with_strategy

OLD, NEW = "a" * 40, "b" * 40


def change(model: str, then: str = OLD, **fields: Any) -> Change:
    known = {"repository": f"org/{model}", "replicas": 1, "asked": True, "digest": "d"}
    known |= {"replaces": True}
    return Change(model, NEW, then, "text", **(known | fields))


def way(*changes: Change, key: bool = True) -> WayThere:
    values = {"servingEngineSpec": {"vllmApiKey": {}} if key else {}}
    return WayThere(7, Past(5, "0.1.8", values), changes)


@dataclass
class Tasks:
    """Stands for the tasks: notes what is done; what is in `failing` is raised for that model."""

    failing: dict[str, Exception] = field(default_factory=dict)
    router: RouterError | None = None
    beside: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    early: set[str] = field(default_factory=set)
    done: list[str] = field(default_factory=list)
    asked: list[Model] = field(default_factory=list)
    keyless: set[bool] = field(default_factory=set)

    def put_in_place(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(rollback, "roll_back_release", self.roll_back)
        patch.setattr(rollback, "wait_ready", SimpleNamespace(submit=self.wait))
        patch.setattr(rollback, "prove", SimpleNamespace(submit=self.prove))
        patch.setattr(rollback, "remember_served", SimpleNamespace(submit=self.remember))
        patch.setattr(rollback, "results", list)
        patch.setattr(rollback, "wait_router", self.wait_router)
        for name in ("held_models", "kept_models"):
            patch.setattr(rollback, name, lambda _: self.held)
        patch.setattr(rollback, "say", self.done.append)
        patch.setattr(overlapping, "hold", SimpleNamespace(submit=self.hold))
        patch.setattr(overlapping, "drain", self.step("drain"))
        patch.setattr(overlapping, "set_aside", self.step("set aside newer"))
        for name in ("let_go", "resume"):
            patch.setattr(overlapping, name, self.on_deployment(name))
        patch.setattr(overlapping, "strategy_of", lambda *_: {})

    def roll_back(self, _session: object, back: WayBack, _reason: str) -> None:
        assert back.past
        self.done.append(f"back to {back.past.revision}")

    def hold(self, _session: object, model: str, _deployment: str) -> Any:
        return future(model in self.beside)

    def step(self, verb: str) -> Any:
        def submit(_session: object, model: str, _deployment: str) -> Any:
            self.done.append(f"{verb} {model}")
            return future(None)

        return SimpleNamespace(submit=submit)

    def on_deployment(self, verb: str) -> Any:
        def do(_session: object, deployment: str, *_: object) -> None:
            model = deployment.removeprefix("vllm-").removesuffix("-deployment-vllm")
            self.done.append(f"{verb} {model}")

        return do

    def wait(
        self,
        _session: object,
        model: str,
        *_: object,
        back: bool,
        beside: bool,
        asked: Model | None,
    ) -> Any:
        assert back
        self.early |= {asked.name} if asked else set()
        self.done.append(f"wait {model}" + (" beside" if beside else ""))
        return future(self.failing.get(model) if self.is_unready(model) else 1.0)

    def wait_router(self, _session: object) -> None:
        if self.router:
            raise self.router

    def is_unready(self, model: str) -> bool:
        return isinstance(self.failing.get(model), NotReadyError)

    def prove(self, session: Session, model: Model) -> Any:
        self.keyless.add(session.keyless)
        self.asked.append(model)
        return future(self.failing.get(model.name, "answer"))

    def remember(self, _session: object, claim: WeightsClaim, served: Any) -> None:
        self.done.append(f"remember {claim.model} {served.commit[:1]} {served.requested[:1]}")


def future(result: object) -> Any:
    return SimpleNamespace(result=lambda raise_on_failure: result)  # noqa: ARG005 -- Prefect's


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Tasks:
    made = Tasks()
    made.put_in_place(monkeypatch)
    monkeypatch.setattr(waits, "all_ended", list)
    return made


def go(found: WayThere) -> None:
    cluster: Any = SimpleNamespace(find=lambda *_: [])
    session = Session(load_settings(), cluster, None, StoppableClock())  # type: ignore[arg-type]  # unused
    claims = {one.model: WeightsClaim(one.model, "1Gi", {OLD: 1}) for one in found.changes}
    rollback._go(session, found, claims)  # noqa: SLF001 -- the flow itself wants a Prefect server


def test_every_model_that_changes_is_waited_for_asked_and_remembered(tasks: Tasks):
    go(way(change("a"), change("b"), change("gone", then="")))
    assert tasks.done == [*("back to 5", "wait a", "wait b", "remember a a a", "remember b a a")]
    assert [one.name for one in tasks.asked] == ["a", "b"]
    assert tasks.keyless == {False}


def test_what_an_interrupted_rollback_brought_back_is_only_proven(tasks: Tasks):
    go(replace(way(change("a")), current=5))
    assert tasks.done == ["wait a", "remember a a a"]


def test_older_replicas_serve_until_those_that_come_back_answered_by_themselves(tasks: Tasks):
    tasks.beside = {"a"}
    go(way(change("a"), change("scaled", replaces=False)))
    assert tasks.done[:-2] == [
        *("back to 5", "wait a beside", "wait scaled", "drain a", "let_go a", "wait a")
    ]
    assert tasks.early == {"a"}


def test_of_several_replicas_each_is_asked_as_soon_as_it_is_ready(tasks: Tasks):
    go(way(change("a", replicas=2), change("embeds", replicas=2, asked=False)))
    assert tasks.early == {"a"}


def test_what_does_not_do_beside_older_replicas_is_let_go_and_they_are_not_ended(tasks: Tasks):
    tasks.beside = {"a", "b"}
    tasks.failing = {"a": NotReadyError("crash loop", next_command="look")}
    with pytest.raises(RolloutError, match="a does not answer"):
        go(way(change("a"), change("b")))
    assert tasks.done == [
        *("back to 5", "wait a beside", "wait b beside", "let_go a"),
        *("drain b", "let_go b", "wait b", "remember b a a"),
    ]


def test_of_what_a_killed_run_left_side_by_side_the_newer_end_well_and_the_kept_serve(tasks: Tasks):
    tasks.held = {"a", "other"}
    go(way(change("a")))
    assert tasks.done == [
        *("set aside newer a", "back to 5", "resume a", "let_go a", "wait a", "remember a a a")
    ]


def test_a_revision_that_stops_pods_is_not_brought_where_it_would_cut_what_was_left_of_others(
    tasks: Tasks,
):
    found = way(change("a"), change("gone", then=""), change("idle", replicas=0, replaces=False))
    values = with_strategy(found.target.values, Rollout(Strategy.STOP_FIRST))
    found = replace(found, target=replace(found.target, values=values))
    tasks.held = {"a", "gone", "idle", "other"}
    with pytest.raises(RolloutError, match="older replicas of other serve beside"):
        go(found)
    assert not [one for one in tasks.done if one.startswith(("set aside", "back"))]
    tasks.held.remove("other")
    go(found)
    assert "back to 5" in tasks.done


def test_a_rollback_goes_on_where_the_one_before_it_was_killed(tasks: Tasks):
    tasks.held = {"a"}
    go(replace(way(change("a", replaces=False)), current=5))
    assert tasks.done == ["wait a beside", "drain a", "let_go a", "wait a", "remember a a a"]


def test_who_breaks_it_off_leaves_older_replicas_beside_new_ones_and_says_so(tasks: Tasks):
    tasks.beside = {"a"}
    tasks.router = RouterError("the router is not ready")
    with pytest.raises(RouterError):
        go(way(change("a")))
    assert tasks.done[:-1] == ["back to 5", "wait a beside"]
    assert tasks.done[-1].startswith("a: its older replicas are kept beside the new ones: the next")


def test_a_router_that_is_not_ready_is_held_against_no_model(tasks: Tasks):
    tasks.router = RouterError("the router is not ready")
    with pytest.raises(RouterError):
        go(way(change("a")))
    assert tasks.done == ["back to 5", "wait a"]


def test_engines_that_knew_no_api_key_then_are_asked_without_one(tasks: Tasks):
    go(way(change("a"), key=False))
    assert tasks.keyless == {True}


def test_a_model_that_cannot_be_asked_is_only_waited_for(tasks: Tasks):
    go(way(change("embeds", asked=False)))
    assert tasks.done == ["back to 5", "wait embeds"]


def test_a_smoke_test_of_the_models_file_is_what_is_asked(tasks: Tasks):
    settings = load_settings()
    settings.models_file.write_text(
        "- name: a\n  modelURL: org/a\n  smokeTest: {prompt: hello, expect: world}\n"
    )
    go(way(change("a"), change("b")))
    assert [one.smoke_test.expect for one in tasks.asked] == ["world", None]


@pytest.mark.parametrize(
    "error", [NotReadyError("crash loop", next_command="look"), CompletionError("rubbish")]
)
def test_who_does_not_answer_then_is_told_and_not_remembered(tasks: Tasks, error: Exception):
    tasks.failing = {"a": error}
    with pytest.raises(RolloutError, match="a does not answer") as failed:
        go(way(change("a"), change("b")))
    assert "vllm-flows rollback --to 7" in failed.value.next_command
    assert tasks.done[-1] == "remember b a a"
    assert not any(text.startswith("remember a") for text in tasks.done)


def test_a_release_that_moved_on_since_it_was_looked_at_is_not_rolled_back():
    rollback._check(way(), None)  # noqa: SLF001 -- as above
    rollback._check(way(), "7 -> 5")  # noqa: SLF001 -- as above
    for other in ("6 -> 5", "7 -> 4"):
        with pytest.raises(StalePlanError, match="the way is now 7 -> 5"):
            rollback._check(way(), other)  # noqa: SLF001 -- as above


def test_nothing_is_removed_but_what_was_agreed_to():
    found = [Pruning("a", gone=(OLD,))]
    prune._check(found, None)  # noqa: SLF001 -- as above
    prune._check(found, [one.agreed for one in found])  # noqa: SLF001 -- as above
    with pytest.raises(StalePlanError, match="nothing was removed"):
        prune._check([*found, Pruning("b", gone=(OLD,))], [one.agreed for one in found])  # noqa: SLF001 -- as above
