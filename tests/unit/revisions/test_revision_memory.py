"""An event per change: due once, sent again while nobody has seen it arrive, never doubled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vllm_flows.models import Model
from vllm_flows.revision_class import Change
from vllm_flows.revision_memory import (
    HOLD_SECONDS,
    MOST_AGAIN,
    RETOLD_SECONDS,
    Memory,
    Seen,
    Tip,
    Told,
    claimed,
    read_memory,
    remembered,
    rules_of,
    with_arrived,
    written,
)

MOVED = Seen("m", "org/name", "main", "1" * 40, "2" * 40, Change.WEIGHTS, files=("w",), rules="r")
LATER = 1000.0 + HOLD_SECONDS


def looked(memory: Memory, seen: Seen, now: float = 1000.0) -> tuple[Memory, bool]:
    after, due = claimed(memory, [seen], {"m"}, now)
    return after, due == ("m",)


def test_a_change_is_due_once():
    memory, due = looked(Memory(), MOVED)
    assert due
    for now in (1000.0, 1001.0, 999.0, LATER - 1):
        memory, due = looked(memory, MOVED, now)
        assert not due


def test_what_nobody_saw_arrive_is_sent_again_as_the_same_event():
    first, _ = looked(Memory(), MOVED)
    again, due = looked(first, MOVED, LATER)
    assert due
    assert first.told["m"].id_for("here", "m") == again.told["m"].id_for("here", "m")


def test_what_arrived_is_not_sent_again_within_a_day():
    memory = with_arrived(looked(Memory(), MOVED)[0], ["m"])
    assert looked(memory, MOVED, 1000.0 + RETOLD_SECONDS - 1) == (memory, False)


def test_what_is_still_to_be_rolled_out_after_a_day_is_told_anew():
    memory = with_arrived(looked(Memory(), MOVED)[0], ["m"])
    again, due = looked(memory, MOVED, 1000.0 + RETOLD_SECONDS)
    assert due
    assert memory.told["m"].id_for("here", "m") != again.told["m"].id_for("here", "m")
    noted = replace(MOVED, change=Change.DOCUMENTATION)
    memory = with_arrived(looked(Memory(), noted)[0], ["m"])
    assert looked(memory, noted, 1e9) == (memory, False)


def test_what_was_tried_and_did_not_do_is_told_once():
    refused = replace(MOVED, refused="the answer has no text")
    memory, due = looked(Memory(), refused)
    assert due
    memory = with_arrived(memory, ["m"])
    assert looked(memory, refused, 1000.0 + RETOLD_SECONDS) == (memory, False)


def test_what_died_is_told_anew_a_few_times_and_then_after_a_day():
    memory, now, ids = looked(Memory(), MOVED)[0], 1000.0, set()
    for _ in range(MOST_AGAIN + 1):
        ids.add(memory.told["m"].id_for("here", "m"))
        memory, now = with_arrived(memory, ["m"]), now + HOLD_SECONDS
        memory, due = claimed(memory, [MOVED], {"m"}, now, {"m"})
    assert (due, len(ids)) == ((), MOST_AGAIN + 1)
    memory, due = claimed(memory, [MOVED], {"m"}, now + RETOLD_SECONDS, {"m"})
    assert due
    assert memory.told["m"].again == 0
    assert memory.told["m"].id_for("here", "m") not in ids


def test_another_change_of_a_model_whose_update_died_is_counted_anew():
    memory = looked(Memory(), MOVED)[0]
    memory, _ = claimed(memory, [MOVED], {"m"}, LATER, {"m"})
    assert memory.told["m"].again == 1
    memory, due = claimed(memory, [replace(MOVED, now="3" * 40)], {"m"}, LATER, {"m"})
    assert (due, memory.told["m"].again) == (("m",), 0)


@pytest.mark.parametrize(
    "other",
    [
        replace(MOVED, now="3" * 40),
        replace(MOVED, served="3" * 40),
        replace(MOVED, change=Change.ASK),
    ],
)
def test_another_change_is_another_event(other: Seen):
    before = with_arrived(looked(Memory(), MOVED)[0], ["m"])
    after, due = looked(before, other, 1001.0)
    assert due
    assert after.told["m"].id_for("here", "m") != before.told["m"].id_for("here", "m")


def test_moved_back_and_forth_is_another_event_though_the_commits_are_the_same():
    before = with_arrived(looked(Memory(), MOVED)[0], ["m"])
    back, due = looked(before, replace(MOVED, now=MOVED.served, change=Change.NONE), 1001.0)
    assert (back.told, due) == ({}, False)
    forth, due = looked(back, MOVED, 1002.0)
    assert due
    assert forth.told["m"].id_for("here", "m") != before.told["m"].id_for("here", "m")


@pytest.mark.parametrize(
    "change", [Change.UNKNOWN, Change.GONE, Change.HELD, Change.PINNED, Change.NOT_DEPLOYED]
)
def test_what_is_no_move_is_no_event_and_forgets_none(change: Change):
    before = looked(Memory(), MOVED)[0]
    assert looked(before, replace(MOVED, change=change), LATER) == (before, False)


def test_events_of_models_that_are_listed_no_more_are_forgotten():
    before = looked(Memory(), MOVED)[0]
    assert claimed(before, [], {"other"}, 1000.0) == (Memory(), ())
    assert claimed(before, [], {"m"}, 1000.0) == (before, ())


def test_events_of_two_clusters_are_two():
    told = looked(Memory(), MOVED)[0].told["m"]
    assert told.id_for("cluster-1/vllm", "m") != told.id_for("cluster-2/vllm", "m")
    assert told.id_for("here", "m") != told.id_for("here", "n")


def test_a_change_is_judged_again_when_models_yaml_allows_something_else():
    model = Model(name="m", modelURL="org/name")
    told = Told("1" * 40, "2" * 40, "ask", 1000.0, 1000.0, rules=rules_of(model))
    memory = Memory(told={"m": told})
    assert remembered(memory, model, "1" * 40, "2" * 40) == told
    assert remembered(memory, model, "1" * 40, "3" * 40) is None
    assert remembered(memory, model, "3" * 40, "2" * 40) is None
    odd = Memory(told={"m": replace(told, change="odd")})
    assert remembered(odd, model, "1" * 40, "2" * 40) is None
    for field in ("allow_pickle", "allow_unsafe", "trust_remote_code"):
        other = model.model_copy(update={field: True})
        assert remembered(memory, other, "1" * 40, "2" * 40) is None


def test_a_judgement_that_stays_the_same_under_other_rules_is_no_other_event():
    before = with_arrived(looked(Memory(), MOVED)[0], ["m"])
    after, due = looked(before, replace(MOVED, rules="other"), 1001.0)
    assert not due
    assert after.told["m"] == replace(before.told["m"], rules="other")


def test_a_memory_survives_being_written():
    memory = Memory(
        {"org/name@main": Tip("2" * 40, 'W/"e"', "manual", "org/new", "65f0")},
        looked(Memory(), MOVED)[0].told,
        1234.5,
    )
    assert read_memory(written(memory)) == memory
    assert read_memory(written(Memory())) == Memory()


@pytest.mark.parametrize(
    "text", ["", "[", "null", "[]", '{"m": 3}', '{"m": {"old": []}}', "[" * 10_000, '{"m": {}}']
)
def test_what_somebody_else_wrote_there_is_forgotten(text: str):
    data = {"tips": text, "told": text, "quiet-until": text}
    assert read_memory(data) == Memory()


def test_five_hundred_models_fit_into_a_config_map():
    reasons, files = ("x" * 200,) * 4, ("y" * 80,) * 5
    told = Told("1" * 40, "2" * 40, "documentation", 1.5e9, 1.5e9, reasons, files, "00None")
    names = [f"model-{n:030}" for n in range(500)]
    tips = {f"{'o' * 40}/{name}@main": Tip("2" * 40, "e" * 70, "no", "o/n") for name in names}
    texts = written(Memory(tips, dict.fromkeys(names, told)))
    assert sum(map(len, texts.values())) < 1024**2
