"""Telling of a revision that moved: one event, whoever else looks, and whatever breaks."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tasks import removal, revisions
from vllm_flows.revision_class import Change
from vllm_flows.revision_memory import HOLD_SECONDS, Memory, claimed, written
from vllm_flows.revision_report import revision_data, revision_lines, revision_rows
from vllm_flows.revision_store import CONFIG_MAP, read_stored
from vllm_flows.update_runs import UpdateRun

if TYPE_CHECKING:
    from conftest import LocalHub, Place, tracked
else:
    from tests.unit.revisions.conftest import tracked

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vllm"}}


class Server:
    """A fake of the Prefect server: it keeps what it takes, `deaf` takes nothing."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.deaf = False
        self.updates: list[UpdateRun] | None = None
        self.limits: list[tuple[str, float]] = []

    def send(self, events: list[dict[str, Any]]) -> None:
        if self.deaf:
            raise httpx.ConnectError("deaf")
        self.events += events

    def known(self, ids: Collection[str]) -> set[str]:
        return {one["id"] for one in self.events} & set(ids)


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(revisions, "send_events", made.send)
    monkeypatch.setattr(revisions, "known_events", made.known)
    monkeypatch.setattr(revisions, "updates_since", lambda *_: made.updates)
    monkeypatch.setattr(
        revisions, "end_unanswered_forms", lambda *given: made.limits.append(given[:2])
    )
    monkeypatch.setattr(revisions, "say", lambda _text: None)
    return made


def told(place: Place) -> int:
    """Look, and tell; return how many events were sent."""
    place.objects["Namespace", "vllm"] = NAMESPACE
    return revisions.tell.fn(place.session, [tracked()], place.look())


def later(place: Place) -> None:
    """Let the claims be older than who claimed them needs."""
    stored = read_stored(place.cluster).memory  # type: ignore[arg-type]  # as much of it as is used
    claims = {
        name: replace(one, sent=one.sent - HOLD_SECONDS, since=one.since - HOLD_SECONDS)
        for name, one in stored.told.items()
    }
    place.objects["ConfigMap", CONFIG_MAP]["data"] = written(replace(stored, told=claims))


def test_a_move_is_told_once_and_a_look_that_finds_nothing_new_writes_nothing(
    place: Place, hub: LocalHub, server: Server
):
    new = hub.commit("weights")
    assert (told(place), told(place), len(server.events)) == (1, 0, 1)
    version = place.version
    assert (told(place), place.version) == (0, version)
    (event,) = server.events
    assert event["event"] == "huggingface.model.revision"
    assert event["resource"]["prefect.resource.id"] == (
        "huggingface.model.microsoft.Phi-4-mini-instruct"
    )
    assert event["payload"] == {
        "model": "m",
        "namespace": "vllm",
        "repository": "microsoft/Phi-4-mini-instruct",
        "ref": "main",
        "old": place.sees().served,
        "new": new,
        "class": "weights",
        "reasons": [],
        "files": ["model.safetensors"],
    }


def test_what_is_up_to_date_is_no_event(place: Place, server: Server):
    assert (told(place), server.events) == (0, [])


def test_each_look_ends_the_forms_that_nobody_answered_in_time(place: Place, server: Server):
    told(place)
    assert server.limits == [("vllm", 24 * 3600.0)]


def test_a_server_that_did_not_take_the_event_gets_it_by_the_next_look(
    place: Place, hub: LocalHub, server: Server
):
    hub.commit("weights")
    server.deaf = True
    with pytest.raises(httpx.ConnectError):
        told(place)
    server.deaf = False
    later(place)
    assert (told(place), len(server.events)) == (1, 1)


def test_an_event_that_the_server_lost_is_sent_again_under_its_id(
    place: Place, hub: LocalHub, server: Server
):
    hub.commit("weights")
    told(place)
    (first,) = server.events
    server.events.clear()
    later_with_the_same_beginning(place)
    told(place)
    assert [one["id"] for one in server.events] == [first["id"]]


def later_with_the_same_beginning(place: Place) -> None:
    stored = read_stored(place.cluster).memory  # type: ignore[arg-type]  # as much of it as is used
    claims = {name: replace(one, sent=one.sent - HOLD_SECONDS) for name, one in stored.told.items()}
    place.objects["ConfigMap", CONFIG_MAP]["data"] = written(replace(stored, told=claims))


def test_an_event_that_arrived_is_asked_for_once_and_never_sent_again(
    place: Place, hub: LocalHub, server: Server
):
    hub.commit("weights")
    told(place)
    for _ in range(3):
        later_with_the_same_beginning(place)
        assert told(place) == 0
    assert len(server.events) == 1
    stored = read_stored(place.cluster).memory  # type: ignore[arg-type]  # as much of it as is used
    assert stored.told["m"].arrived


def test_an_update_that_died_is_told_anew_and_one_that_is_at_work_is_not(
    place: Place, hub: LocalHub, server: Server
):
    new = hub.commit("weights")
    told(place)
    run = UpdateRun("id", "m", "vllm", new, "RUNNING", time.time())
    server.updates = [run]
    later_with_the_same_beginning(place)
    assert told(place) == 0
    server.updates = [replace(run, state="CRASHED")]
    assert told(place) == 1
    assert told(place) == 0
    first, second = server.events
    assert first["id"] != second["id"]
    assert first["payload"] == second["payload"]


@pytest.mark.parametrize("state", ["CRASHED", "CANCELLED"])
@pytest.mark.parametrize("held", [False, True])
def test_an_update_that_ended_before_its_commit_was_seen_to_answer_is_told_anew(
    place: Place, hub: LocalHub, server: Server, state: str, *, held: bool
):
    old, new = hub.head(), hub.commit("weights")
    told(place)
    place.serve(new, word="main", answered=old, held=held)
    server.updates = [UpdateRun("id", "m", "vllm", new, "RUNNING", time.time())]
    later_with_the_same_beginning(place)
    assert told(place) == 0
    server.updates = [replace(server.updates[0], state=state)]
    assert told(place) == 1
    first, second = server.events
    assert first["payload"] == second["payload"]
    seen = place.sees()
    assert (seen.served, seen.now, seen.change) == (old, new, Change.WEIGHTS)
    (line,) = revision_lines([seen])
    assert f"{new[:8]} runs and was not seen to answer" in line
    place.serve(new, word="main", answered=f"{new} {old}")
    assert told(place) == 0
    assert place.sees().change is Change.NONE


@pytest.mark.parametrize(
    ("answered", "fields", "asks"),
    [
        ("", {}, ""),
        ("1" * 40, {}, "vllm-flows update m"),
        ("1" * 40, {"onFailure": "keep"}, "vllm-flows install"),
        ("1" * 40, {"vllmConfig": {"runner": "pooling"}}, ""),
    ],
)
def test_what_was_brought_by_hand_and_not_seen_to_answer_is_said_and_no_event(
    place: Place, server: Server, answered: str, fields: dict[str, Any], asks: str
):
    place.serve(place.sees().now, word="main", answered=answered)
    seen = place.sees(tracked(**fields))
    assert (seen.change, seen.unproven) == (Change.NONE, bool(asks))
    assert [f"`{asks}` asks it" in line for line in revision_lines([seen])] == [True] * bool(asks)
    assert (told(place), server.events) == (0, [])


def test_an_event_that_led_to_no_update_is_told_anew_where_one_should_have_begun(
    place: Place, hub: LocalHub, server: Server
):
    hub.commit("weights")
    told(place)
    later_with_the_same_beginning(place)
    assert told(place) == 0
    server.updates = []
    assert told(place) == 1


def test_who_writes_second_leaves_the_event_to_who_was_first(
    place: Place, hub: LocalHub, server: Server
):
    told(place)
    hub.commit("weights")
    look = place.look()
    other = claimed(look.memory, look.seen, {"m"}, time.time())[0]
    place.meanwhile.append(written(other))
    assert (told(place), server.events) == (0, [])


def test_a_model_that_caught_up_is_forgotten(place: Place, hub: LocalHub, server: Server):
    new = hub.commit("weights")
    told(place)
    place.serve(new, word="main")
    told(place)
    stored = read_stored(place.cluster).memory  # type: ignore[arg-type]  # as much of it as is used
    assert stored.told == {}
    assert place.sees().change is Change.NONE
    assert len(server.events) == 1


def test_an_uninstall_forgets_what_was_remembered(place: Place, hub: LocalHub):
    hub.commit("weights")
    told(place)
    place.objects.pop(("PersistentVolumeClaim", "m"))
    removal.delete_weights_jobs.fn(place.cluster)  # type: ignore[arg-type]  # as much of it as is used
    assert ("ConfigMap", CONFIG_MAP) not in place.objects


def test_where_there_is_no_namespace_nothing_is_written(place: Place, server: Server):
    look = place.look()
    assert revisions.tell.fn(place.session, [tracked()], look) == 0
    assert (place.version, server.events, look.memory != Memory()) == (0, [], True)


@pytest.mark.parametrize(
    "fields", [{}, {"update": "approve"}, {"update": "window", "updateWindow": "Sun 02:00-02:01"}]
)
@pytest.mark.parametrize("moved", ["license", "weights", "pin", "away"])
def test_a_commit_that_was_not_seen_to_answer_is_told_of_wherever_its_revision_stands_by_now(
    place: Place, hub: LocalHub, server: Server, moved: str, fields: dict[str, Any]
):
    old, new = hub.head(), hub.commit("weights")
    told(place)
    place.serve(new, word="main", answered=old)
    server.updates = [UpdateRun("id", "m", "vllm", new, "CRASHED", time.time())]
    later_with_the_same_beginning(place)
    revision = {"pin": hub.commit("weights"), "away": "another"}.get(moved, "main")
    if revision == "main":
        hub.commit(moved)
    model = tracked(revision=revision, **fields)
    look = place.look(model)
    assert revisions.tell.fn(place.session, [model], look) == 1
    first, second = server.events
    assert first["id"] != second["id"]
    assert first["payload"] == second["payload"] | {"ref": "main"}
    (seen,) = look.seen
    assert (seen.served, seen.now, seen.unproven) == (old, new, True)
    (line,) = revision_lines(look.seen)
    asks = f"{new[:8]} runs and was not seen to answer: `vllm-flows update m` asks it"
    assert asks in line
    (row,) = revision_rows(revision_data(look.seen))
    assert asks in row["what"]
    place.serve(new, word="main", answered=f"{new} {old}")
    assert place.sees(model).now != new


def test_what_was_told_of_the_next_commit_first_does_not_hide_the_one_that_runs_unproven(
    place: Place, hub: LocalHub, server: Server
):
    old, new = hub.head(), hub.commit("weights")
    told(place)
    next_one = hub.commit("license")
    told(place)
    place.serve(new, word="main", answered=old)
    assert told(place) == 1
    payload = server.events[-1]["payload"]
    assert (payload["old"], payload["new"], payload["class"]) == (old, new, "weights")
    place.serve(new, word="main", answered=f"{new} {old}")
    assert told(place) == 1
    assert server.events[-1]["payload"]["new"] == next_one


def test_what_stays_whatever_it_answers_keeps_no_newer_commit_waiting(place: Place, hub: LocalHub):
    old, new = hub.head(), hub.commit("weights")
    told(place)
    place.serve(new, word="main", answered=old)
    keeping = tracked(onFailure="keep")
    seen = place.sees(keeping)
    assert (seen.served, seen.now, seen.change) == (old, new, Change.WEIGHTS)
    newer = hub.commit("weights")
    seen = place.sees(keeping)
    assert (seen.served, seen.now, seen.unproven) == (new, newer, True)
    place.serve(new, word="main", answered=old, held=True)
    assert place.sees(keeping).now == new


def test_what_was_told_as_documentation_and_was_brought_by_hand_is_asked_too(
    place: Place, hub: LocalHub, server: Server
):
    old, new = hub.head(), hub.commit("docs")
    told(place)
    place.serve(new, word="main", answered=old)
    hub.commit("weights")
    assert told(place) == 1
    assert server.events[-1]["payload"]["new"] == new
    assert server.events[-1]["payload"]["class"] == "configuration"
