"""The shape and the speed of answers, and what they are compared with."""

from __future__ import annotations

import pytest

from vllm_flows.health import Finding, Kind
from vllm_flows.health_baseline import fitting, renewed
from vllm_flows.health_memory import Baseline
from vllm_flows.health_shapes import Shape, difference, shape_from, shape_of
from vllm_flows.health_speed import Speed, best, is_slow, slow_start, slow_tokens

PARIS = "Paris, and it has been so for most of its history."


@pytest.mark.parametrize("text", ["!" * 40, "\ufffd" * 20, "\x00\x01\x02\x03 \x04\x05\x06\x07 ab"])
def test_what_is_no_text_is_rubbish(text: str):
    assert shape_of(text).rubbish


@pytest.mark.parametrize("text", [PARIS, "", "!!!", "東京は日本の首都です。", "a\n\tb c d e f"])
def test_what_somebody_might_say_is_none(text: str):
    assert not shape_of(text).rubbish


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ('{"a": 1}', '```json\n{"b": [2]}\n```', ""),
        ('{"a": 1}', "A is one.", "what was JSON is none"),
        ("A is one.", '{"a": 1}', ""),
        (PARIS, PARIS.replace("Paris", "Lyon"), ""),
        (PARIS, "Paris.", "it has 6 characters, and had 50"),
        (PARIS, "the the the the the the the the the the the the", "it has 4 different"),
    ],
)
def test_another_shape_is_seen_and_other_words_are_not(before: str, now: str, told: str):
    found = difference(shape_of(before, "stop"), shape_of(now, "stop"))
    assert found.startswith(told)
    assert bool(found) == bool(told)


def test_a_text_that_ends_early_by_itself_is_no_other_shape():
    assert difference(shape_of(PARIS, "length"), shape_of("Paris.", "stop")) == ""


def test_a_shape_outlasts_being_written_down_and_garbage_is_none():
    shape = shape_of('{"a": 1}', "stop")
    assert shape_from(shape.data) == shape
    for garbage in (None, 3, {}, {**shape.data, "length": "x"}):
        assert shape_from(garbage) is None


def test_deep_json_is_no_json_and_no_error():
    assert not shape_of("[" * 100_000).json


def test_the_best_of_several_answers_counts():
    late_and_together = Speed(0.9, 500, 0.06)
    found = best([Speed(0.4, 20, 0.05), Speed(0.2), late_and_together, Speed(0.5, 19, 0.07)])
    assert found == Speed(0.2, 20, 0.05)
    assert best([]) == Speed()


@pytest.mark.parametrize(
    ("before", "now", "busy", "slow"),
    [
        (0.1, 0.9, False, False),  # nine times, and nobody notices
        (0.1, 1.2, False, True),
        (0.1, 1.2, True, True),
        (0.3, 2.0, True, False),  # others are answered too
        (2.0, 4.0, False, False),
        (2.0, 6.1, False, True),
        (None, 9.0, False, False),
        (0.1, None, False, False),
    ],
)
def test_a_first_token_is_late_by_a_factor_and_by_a_time_that_is_noticed(
    before: float | None, now: float | None, *, busy: bool, slow: bool
):
    assert slow_start(Speed(before), Speed(now), busy=busy) is slow


@pytest.mark.parametrize(
    ("before", "now", "busy", "slow"),
    [
        (200.0, 60.0, False, False),  # a third, and still faster than anybody reads
        (200.0, 40.0, False, True),
        (200.0, 40.0, True, False),
        (200.0, 19.0, True, True),
        (30.0, 11.0, False, False),
        (30.0, 9.0, False, True),
        (None, 1.0, False, False),
        (30.0, None, False, False),
    ],
)
def test_tokens_are_slow_by_a_factor_and_by_a_time_that_is_noticed(
    before: float | None, now: float | None, *, busy: bool, slow: bool
):
    found = slow_tokens(Speed(rate=before), Speed(rate=now), busy=busy)
    assert found is slow
    assert is_slow(Speed(rate=before), Speed(rate=now), busy=busy) is slow


SHAPES = {"text": Shape(10, 5)}


def test_a_new_configuration_that_answers_well_is_what_later_ones_are_compared_with():
    assert renewed(None, "d1", Speed(1, 2), SHAPES, []) == Baseline("d1", Speed(1, 2), SHAPES)
    old = Baseline("d1", Speed(1, 2), SHAPES)
    assert fitting(old, "d2") is None
    assert fitting(old, "d1") is old
    assert renewed(old, "d2", Speed(5, 1), SHAPES, []) == Baseline("d2", Speed(5, 1), SHAPES)


@pytest.mark.parametrize(
    "kind", [Kind.RUBBISH, Kind.REPLICAS, Kind.CHANGING, Kind.NO_REPLICA, Kind.UNPROVEN]
)
def test_one_that_is_not_well_is_compared_with_nothing(kind: Kind):
    assert renewed(None, "d1", Speed(1, 2), SHAPES, [Finding(kind, "x")]) is None


def test_what_is_found_beside_its_answers_keeps_it_from_nothing():
    assert renewed(None, "d1", Speed(1, 2), SHAPES, [Finding(Kind.CHANGED_OUTSIDE, "x")])


def test_what_gets_slower_night_by_night_is_compared_with_the_fastest_that_was_seen():
    first = Baseline("d1", Speed(1.0, 20, 0.08), SHAPES)
    assert renewed(first, "d1", Speed(1.5, 15, 0.11), SHAPES, []) == first
    faster = renewed(first, "d1", Speed(0.5, 30, 0.05), {"json": Shape(3, 2)}, [])
    assert faster == Baseline("d1", Speed(0.5, 30, 0.05), {"json": Shape(3, 2), **SHAPES})
    assert renewed(first, "d1", Speed(9, 1), SHAPES, [Finding(Kind.SLOW_TOKENS, "x")]) == first
