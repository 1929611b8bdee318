"""What a check repairs, and what it leaves alone."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from xml.etree import ElementTree as ET

import pytest

from vllm_flows.errors import ClusterError
from vllm_flows.health import HUB, ROUTER, Checked, Finding, Health, Kind, State
from vllm_flows.health_checking import Outcome
from vllm_flows.health_keeping import with_repairs
from vllm_flows.health_memory import Memory, Run
from vllm_flows.health_picture import as_address, trend
from vllm_flows.health_repairs import Repair, Repairs, Result, Way, choose
from vllm_flows.health_report import health_data, health_rows, next_lines, page, sentence

NOW, HOUR = 1_000_000.0, 3600.0
SILENT = Finding(Kind.SILENT, "no byte", replica="a-1")
WEIGHTS = Finding(Kind.WEIGHTS, "1 file")
UNPROVEN = Finding(Kind.UNPROVEN, "not seen")


def chosen(*models: Checked, at_most: int = 3, nodes: str = "", **memories: Memory) -> Repairs:
    found = {
        one.name: {f"{one.name}-1": nodes or f"node-{number}"} for number, one in enumerate(models)
    }
    return choose(models, found, memories, NOW, at_most)


def refused(found: Repairs) -> list[str]:
    return [one.text for one in found.refused]


def silent(name: str, replica: str | None = None) -> Checked:
    return Checked(name, (Finding(Kind.SILENT, "no byte", replica=replica or f"{name}-1"),))


@pytest.mark.parametrize("kind", [Kind.SILENT, Kind.EMPTY, Kind.RUBBISH, Kind.OTHER_KEY])
def test_a_replica_that_does_not_answer_is_restarted(kind: Kind):
    (one,) = chosen(Checked("a", (Finding(kind, "x", replica="a-1"),))).chosen
    assert (one.way, one.pod, one.node) == (Way.RESTART, "a-1", "node-0")
    assert Result(one).text == "a: pod a-1 was ended, another takes its place"
    assert one.failed(ClusterError("refused")).text == "a: not repaired: refused"


@pytest.mark.parametrize("kind", [Kind.SILENT, Kind.EMPTY, Kind.RUBBISH])
def test_what_is_not_proven_is_not_restarted_but_asked_by_its_update(kind: Kind):
    bad = Finding(kind, "x", replica="a-1")
    one = Checked("a").with_more([bad, UNPROVEN])
    assert next_lines(Health(NOW, 1.0, (one,))) == ["a: next: vllm-flows update a"]
    found = chosen(one)
    assert found.chosen == ()
    (left,) = found.refused
    assert left.text.startswith("a: left alone: it was not seen to answer as it is now")
    after = left.on(one).findings
    assert [each.next_for("a") for each in after] == ["vllm-flows update a"] * 2
    assert "left alone" in after[1].why


@pytest.mark.parametrize(
    ("found", "way"),
    [(Finding(Kind.OTHER_KEY, "x", replica="a-1"), Way.RESTART), (WEIGHTS, Way.REFETCH)],
)
def test_what_is_no_answer_of_a_model_that_is_not_proven_is_repaired(found: Finding, way: Way):
    (one,) = chosen(Checked("a").with_more([found, UNPROVEN])).chosen
    assert one.way is way


def test_the_only_replica_needs_no_name():
    (one,) = chosen(Checked("a", (Finding(Kind.RUBBISH, "x"),))).chosen
    assert one.pod == "a-1"


@pytest.mark.parametrize(
    "kind", [Kind.SLOW_TOKENS, Kind.CHANGED_OUTSIDE, Kind.NO_REPLICA, Kind.WRONG_MODEL, Kind.ACCESS]
)
def test_what_a_restart_does_not_mend_is_left_to_people(kind: Kind):
    assert chosen(Checked("a", (Finding(kind, "x"),))) == Repairs()


def test_damaged_files_are_fetched_before_anybody_loads_them():
    (one,) = chosen(Checked("a", (SILENT, WEIGHTS))).chosen
    assert one.way is Way.REFETCH


def test_a_run_repairs_few_and_never_two_of_one_node():
    found = chosen(silent("a"), silent("b"), silent("c"), Checked("d"), Checked("e"), at_most=2)
    assert [one.model for one in found.chosen] == ["a", "b"]
    assert refused(found) == ["c: left alone: 2 repairs in one run are enough"]
    found = chosen(silent("a"), silent("b"), nodes="n")
    assert refused(found) == ["b: left alone: a on the same node is repaired now"]


def test_who_does_not_answer_comes_before_who_does():
    found = chosen(Checked("a", (WEIGHTS,)), silent("b"), nodes="n")
    assert [one.model for one in found.chosen] == ["b"]
    assert refused(found) == ["a: left alone: b on the same node is repaired now"]


def test_a_repair_that_did_not_help_is_not_made_a_habit_of():
    recently = Memory(repairs=((NOW - 5 * HOUR, "restart"),))
    (left,) = chosen(silent("a"), a=recently).refused
    assert "6 hours" in left.text
    assert left.on(silent("a")).findings[0].next_for("a") == "vllm-flows logs a"
    often = Memory(repairs=tuple((NOW - days * 24 * HOUR, "restart") for days in (1, 3, 5)))
    assert "3 times within a week" in refused(chosen(silent("a"), a=often))[0]
    before = Memory(repairs=tuple((NOW - days * 24 * HOUR, "restart") for days in (8, 9, 10)))
    assert chosen(silent("a"), a=before).chosen


def test_what_most_models_have_is_nobody_s_own_fault():
    found = chosen(*(silent(name) for name in "abcde"), Checked("f"))
    assert found.chosen == ()
    assert refused(found)[0] == "a: left alone: 5 of 6 models are so; the cause is elsewhere"


@pytest.mark.parametrize(("alike", "well"), [(4, 4), (3, 0)], ids=["half of all", "three"])
def test_what_no_more_than_half_or_than_three_have_is_repaired(alike: int, well: int):
    models = [silent(f"a{number}") for number in range(alike)]
    models += [Checked(f"b{number}") for number in range(well)]
    assert len(chosen(*models).chosen) == 3


def other_key(name: str) -> Checked:
    found = Finding(Kind.OTHER_KEY, "refused", "", f"kubectl delete pod {name}-1", f"{name}-1")
    return Checked(name, (found,))


def test_another_key_lies_in_the_replica_however_many_have_one():
    found = chosen(*(other_key(name) for name in "abcde"))
    assert [one.pod for one in found.chosen] == ["a-1", "b-1", "c-1"]


def test_where_a_replica_with_another_key_is_left_alone_the_way_out_stays():
    recently = Memory(repairs=((NOW - 5 * HOUR, "restart a-1"),))
    (left,) = chosen(other_key("a"), a=recently).refused
    assert left.on(other_key("a")).findings[0].next_for("a") == "kubectl delete pod a-1"


def test_a_router_with_another_key_is_replaced_beside_an_engine_of_its_node():
    models = (other_key("a"), other_key(ROUTER), Checked("b"))
    found = chosen(*models, nodes="n", _router=Memory())
    assert [(one.model, one.pod) for one in found.chosen] == [("a", "a-1"), (ROUTER, "(router)-1")]
    after = with_repairs(
        Outcome(Health(1.0, 1.0, models), {"a": Memory(), "_router": Memory(), "b": Memory()}),
        [Result(one, tried=True) for one in found.chosen],
    )
    assert after.memories["_router"].repairs == ((1.0, "restart (router)-1"),)
    assert next_lines(after.health)[1] == "(router): next: vllm-flows check"


def test_a_router_is_replaced_as_seldom_as_a_replica():
    often = Memory(repairs=tuple((NOW - days * 24 * HOUR, f"restart {days}") for days in (1, 3, 5)))
    (left,) = refused(chosen(other_key(ROUTER), _router=often))
    assert "3 times within a week" in left


def test_of_two_pods_with_another_key_one_is_replaced_and_the_other_by_the_next_run():
    findings = tuple(Finding(Kind.OTHER_KEY, "x", "", f"delete {n}", f"a-{n}") for n in (1, 2))
    two = Checked("a", findings)
    (one,) = choose([two], {"a": {"a-1": "n", "a-2": "n"}}, {}, NOW, 3).chosen
    assert one.pod == "a-1"
    outcome = Outcome(Health(NOW, 1.0, (two,)), {"a": Memory()})
    after = with_repairs(outcome, [Result(one, tried=True)])
    done, left = after.health.checked[0].findings
    assert "was ended" in done.why
    assert (left.why, left.next_command) == ("", "delete 2")
    rest = Checked("a", (left,))
    later = choose([rest], {"a": {"a-2": "n", "a-3": "n"}}, after.memories, NOW + HOUR, 3)
    assert [each.pod for each in later.chosen] == ["a-2"]
    silent_now = choose([silent("a")], {"a": {"a-1": "n"}}, after.memories, NOW + HOUR, 3)
    assert silent_now.chosen == (), "it was restarted"


def test_a_router_that_answers_nobody_is_left_to_people():
    assert chosen(Checked(ROUTER, (Finding(Kind.ROUTER_DOWN, "x"),))) == Repairs()


def test_files_that_were_fetched_anew_do_not_keep_a_replica_from_a_restart():
    fetched = Memory(repairs=((NOW - HOUR, "fetch anew"),))
    assert chosen(silent("a"), a=fetched).chosen
    assert not chosen(Checked("a", (WEIGHTS,)), a=fetched).chosen


def test_what_was_repaired_is_said_where_it_was_found_with_what_to_run_then():
    repair = Repair("phi", Way.RESTART, "n", "a-1")
    after = with_repairs(Outcome(HEALTH, {"phi": Memory()}), [Result(repair, tried=True)])
    phi = after.health.checked[1]
    assert phi.findings[0].text == (
        "replica a-1: no byte (since then pod a-1 was ended, another takes its place)"
    )
    assert next_lines(after.health) == ["phi: next: vllm-flows check phi"]
    assert sentence(after.health).endswith("1 green, 1 down; repaired since: phi")
    assert after.health.repairs == ("phi: pod a-1 was ended, another takes its place",)
    assert after.memories["phi"].repairs == ((HEALTH.at, "restart"),)


def test_what_failed_or_was_left_alone_is_no_repair():
    repair = Repair("phi", Way.RESTART, "n", "a-1")
    before = Outcome(HEALTH, {"phi": Memory()})
    failed = with_repairs(before, [repair.failed(ClusterError("no", next_command="look"))])
    assert (failed.health.mended, len(failed.memories["phi"].repairs)) == ((), 1)
    assert next_lines(failed.health) == ["phi: next: look"]
    left = with_repairs(before, [repair.left("another run holds the lock")])
    assert (left.health.mended, left.memories["phi"].repairs) == ((), ())
    assert next_lines(left.health) == ["phi: next: vllm-flows check phi --repair"]
    assert left.health.repairs == ("phi: left alone: another run holds the lock",)


def test_a_pod_that_is_gone_already_is_not_looked_for():
    assert chosen(silent("a", replica="another")) == Repairs()
    assert choose([silent("a")], {}, {}, NOW, 3) == Repairs()


def runs(count: int) -> list[Run]:
    return [
        Run(1.7e9 + number * 86400, dict(zip(State, (7, 1, 0, 2), strict=True)))
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 7, 60])
def test_the_trend_is_a_picture_that_says_its_numbers(count: int):
    picture = ET.fromstring(trend(runs(count)))  # noqa: S314 -- our own
    width = float(picture.attrib["width"])
    texts = [one.text or "" for one in picture.iter("{http://www.w3.org/2000/svg}text")]
    titles = [one.text for one in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == count
    for box in picture.iter("{http://www.w3.org/2000/svg}rect"):
        left, wide = float(box.attrib.get("x", 0)), float(box.attrib["width"])
        assert 0 <= left <= left + wide <= width
    if count:
        assert {"7 green", "1 inconclusive", "0 degraded", "2 down", "10"} <= set(texts)
        assert titles[0] == "2023-11-14 22:13: 7 green, 1 inconclusive, 2 down"


def test_the_last_checks_of_models_that_are_not_well_stand_below():
    checks = ((1.7e9, "green", 0.1, 30.0), (1.7e9 + 86400, "down", None, None))
    unwell = {f"model-{n}": Memory(checks=checks) for n in range(30)}
    picture = trend(runs(2), unwell=unwell)
    assert "2023-11-14 22:13: green, first token 0.1 s, 30 tokens/s" in picture
    assert "2023-11-15 22:13: down<" in picture
    assert "model-19<" in picture
    assert "model-20<" not in picture, "there is no room for all"


def test_the_trend_is_in_the_time_zone_that_was_asked_for():
    assert "2023-11-15 07:13" in trend(runs(1), timezone(timedelta(hours=9)))
    assert "2023-11-14 22:13" in trend(runs(1), UTC)
    assert as_address("<svg/>") == "data:image/svg+xml;base64,PHN2Zy8+"


HEALTH = Health(
    1000.4,
    12.34,
    (
        Checked("qwen", (), 1, 1, 0.01234567, 181.23456, 2.0, "d", "a" * 40),
        Checked("phi", (SILENT, WEIGHTS, Finding(Kind.NEWER, "newer")), 1, 1),
        Checked("(hub)"),
    ),
    repairs=("phi: pod a|b was ended",),
)


def test_the_data_of_a_check_has_a_stable_shape():
    data = health_data(HEALTH)
    assert list(data) == ["state", "at", "seconds", "deep", "models", "shared", "repairs"]
    assert data["models"][0] == {
        "model": "qwen",
        "state": "green",
        "revision": "a" * 40,
        "replicas": 1,
        "ready": 1,
        "firstTokenSeconds": 0.01235,
        "tokensPerSecond": 181.2,
        "seconds": 2.0,
        "findings": [],
    }
    assert data["models"][1]["findings"][0] == {
        "kind": "silent",
        "state": "down",
        "replica": "a-1",
        "what": "no byte",
        "why": "",
        "next": "vllm-flows check phi --repair",
    }
    assert data["shared"] == [{"name": "(hub)", "state": "green", "findings": []}]


def test_a_person_sees_the_worst_of_each_and_what_to_run():
    rows = health_rows(HEALTH)
    assert rows[0]["found"] == "-"
    assert rows[1]["found"] == ("silent: replica a-1: no byte; weights-damaged: 1 file; and 1 more")
    assert next_lines(HEALTH) == ["phi: next: vllm-flows check phi --repair"]
    assert sentence(HEALTH) == "2 models checked in 12 s: 1 green, 1 down"


def test_a_router_that_is_down_is_said_beside_models_that_are_green():
    router = Checked(ROUTER, (Finding(Kind.ROUTER_DOWN, "answers nobody"),))
    health = Health(0.0, 1.0, (Checked("a"), router, Checked(HUB)))
    assert sentence(health) == "1 model checked in 1 s: 1 green; (router) down"


def test_what_others_wrote_is_no_markdown_on_the_page():
    text = page(HEALTH, "data:x")
    assert "![the last checks](data:x)" in text
    assert "| phi | down | vllm-flows check phi --repair | silent: replica a-1: no byte" in text
    assert "pod a\\|b was ended" in text
    assert "next" not in page(Health(0, 1, (Checked("a"),)), "data:x")
