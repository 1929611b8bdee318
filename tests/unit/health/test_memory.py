"""What is remembered from check to check, and which changes are told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vllm_flows.health import Checked, Finding, Health, Kind, State
from vllm_flows.health_asking import Asked
from vllm_flows.health_events import changes, key_of, summary, with_told
from vllm_flows.health_judging import Heard
from vllm_flows.health_looking import Look
from vllm_flows.health_memory import (
    RUNS,
    Baseline,
    Memory,
    Run,
    config_map,
    memories,
    remembered,
    runs,
    to_write,
)
from vllm_flows.health_of_model import OfModel, memory_of
from vllm_flows.health_router import Counts
from vllm_flows.health_shapes import Shape
from vllm_flows.health_speed import Speed

SHAPES = {"text": Shape(180, 30, end="length"), "json": Shape(19, 15, json=True, end="stop")}
FULL = Memory(
    state="green",
    since=1_800_000_000,
    at=1_800_000_000,
    told="green",
    baseline=Baseline("d" * 32, Speed(0.0123, 181.2, 0.0061), SHAPES),
    restarts={f"vllm-{'m' * 40}-deployment-vllm-5ff4d7c768-{n:05d}": 3 for n in range(20)},
    errors=123_456,
    requests=987_654_321,
    checks=tuple((1_800_000_000.0 + n, "inconclusive", 0.1234, 123.4) for n in range(14)),
    repairs=tuple((1_800_000_000.0, "restart") for _ in range(20)),
)
SLOW, SILENT = Finding(Kind.SLOW_TOKENS, "slow"), Finding(Kind.SILENT, "silent")


def test_what_is_written_is_what_is_read():
    kept = replace(FULL, restarts={"pod": 2}, repairs=FULL.repairs[:2])
    data = to_write({"qwen": kept}, (), [], None)
    assert memories(config_map(data)) == {"qwen": kept}


def test_five_hundred_models_fit_in_one_config_map():
    data = to_write({f"{'m' * 40}-{n}": FULL for n in range(500)}, (), [], None)
    size = sum(len(key) + len(text or "") for key, text in data.items())
    assert size < 1024**2
    assert len(memories(config_map(data))) == 500


@pytest.mark.parametrize(
    "text", ["", "[]", "nonsense", "{}", '{"state": 1}', "[" * 5000, '{"restarts": {"a": "b"}}']
)
def test_garbage_is_as_if_nothing_was_there(text: str):
    assert memories({"data": {"qwen": text}}) == {}
    assert runs({"data": {RUNS: text}}) in ([], [])
    assert memories(None) == {}


def test_only_a_check_of_all_models_is_a_run():
    health = Health(5.0, 1, (Checked("a"), Checked("b", (SILENT,))))
    data = to_write({}, ["gone"], [], health)
    assert data["gone"] is None
    (run,) = runs(config_map(data))
    assert (run.at, run.counts[State.GREEN], run.counts[State.DOWN]) == (5.0, 1, 1)
    assert RUNS not in to_write({}, (), [Run(1.0, {})], None)


def test_old_runs_and_checks_are_forgotten():
    memory = Memory()
    for moment in range(100):
        memory = remembered(memory, Checked("a"), float(moment))
    assert len(memory.checks) == 14
    assert (memory.since, memory.at) == (0.0, 99.0)
    before = [Run(float(n), dict.fromkeys(State, 0)) for n in range(100)]
    data = to_write({}, (), before, Health(100.0, 1, ()))
    assert len(json.loads(data[RUNS] or "")) == 60


def after(memory: Memory, *findings: Finding, at: float = 9.0) -> tuple[Checked, Memory]:
    checked = Checked("qwen", findings)
    return checked, remembered(memory, checked, at)


def test_what_answers_while_a_run_changes_the_namespace_is_no_baseline_yet():
    answered = Asked(own=(Heard(shapes=SHAPES),))
    found = OfModel(Checked("qwen", digest="d1"), answered)
    after_check = memory_of(Memory(), found, Look(), Counts())
    assert after_check.baseline == Baseline("d1", Speed(), SHAPES)
    assert memory_of(Memory(), found, Look(changing=True), Counts()).baseline is None


def test_a_change_of_state_is_told_once():
    told = Memory(state="green", since=1.0, at=1.0, told="green")
    checked, memory = after(told, SILENT)
    (change,) = changes([checked], {"qwen": memory}, "ns")
    assert (change.old, change.new, change.payload["next"]) == (
        "green",
        "down",
        "vllm-flows check qwen --repair",
    )
    assert change.resource["prefect.resource.id"] == "vllm-flows.model.ns.qwen"
    memory = with_told({"qwen": memory}, [change])["qwen"]
    checked, memory = after(memory, SILENT, at=10.0)
    assert changes([checked], {"qwen": memory}, "ns") == []


def test_a_change_that_is_told_again_is_the_same_event():
    told = Memory(state="green", since=1.0, at=1.0, told="green")
    checked, memory = after(told, SILENT)
    later, again = after(memory, SILENT, at=99.0)
    (first,) = changes([checked], {"qwen": memory}, "ns")
    (second,) = changes([later], {"qwen": again}, "ns")
    assert first.id == second.id
    (other,) = changes([checked], {"qwen": memory}, "other")
    assert other.id != first.id


def test_all_changes_of_a_check_are_one_message_and_told_again_the_same():
    told = Memory(state="green", since=1.0, at=1.0, told="green")
    checked, memory = after(told, SILENT)
    (change,) = changes([checked], {"qwen": memory}, "ns")
    found = summary([change] * 30)
    assert found["payload"]["summary"] == "30 now down"
    lines = found["payload"]["text"].splitlines()
    assert lines[0].startswith("qwen: green -> down (")
    assert "next: vllm-flows check qwen --repair" in lines[0]
    assert lines[-1] == "and 10 more"
    assert found["id"] == summary([change] * 30)["id"] != summary([change])["id"]


def test_what_could_not_be_measured_is_no_change_and_neither_is_its_end():
    told = Memory(state="green", since=1.0, at=1.0, told="green")
    checked, memory = after(told, Finding(Kind.NOT_MEASURED, "?"))
    assert changes([checked], {"qwen": memory}, "ns") == []
    checked, memory = after(memory, at=10.0)
    assert changes([checked], {"qwen": memory}, "ns") == []


def test_a_model_that_is_well_when_first_seen_is_no_news_and_a_bad_one_is():
    checked, memory = after(Memory())
    assert changes([checked], {"qwen": memory}, "ns") == []
    assert with_told({"qwen": memory}, [])["qwen"].told == "green"
    checked, memory = after(Memory(), SLOW)
    (change,) = changes([checked], {"qwen": memory}, "ns")
    assert (change.old, change.new) == ("unknown", "degraded")


def test_what_models_share_is_remembered_under_a_name_that_no_model_has():
    assert key_of("(hub)") == "_hub"
    assert key_of("qwen") == "qwen"
