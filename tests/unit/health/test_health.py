"""What can be found, how bad it is, and what stands in the documentation of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.verbs import VERBS
from vllm_flows.health import RULES, Checked, Finding, Health, Kind, State, state_of

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/health.md"


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_finding_has_a_rule_whose_next_command_exists(kind: Kind):
    rule = RULES[kind]
    program, verb, *_ = rule.next_command.split()
    assert program == "vllm-flows"
    assert verb in VERBS
    assert rule.meaning


def test_the_page_shows_every_finding_with_its_state_and_its_next_command():
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (.*?) \| (.*?) \| `(.*?)` \|$", PAGE.read_text(), re.MULTILINE
    )
    shown = {name: (state, meaning, command) for name, state, meaning, command in rows}
    wanted = {
        str(kind): (
            "(green)" if rule.state is State.GREEN else str(rule.state),
            rule.meaning,
            rule.next_command,
        )
        for kind, rule in RULES.items()
    }
    assert shown == wanted


def test_a_model_is_as_bad_as_the_worst_that_was_found():
    newer, slow = Finding(Kind.NEWER, "newer"), Finding(Kind.SLOW_TOKENS, "slow")
    silent, unknown = Finding(Kind.SILENT, "silent"), Finding(Kind.NOT_MEASURED, "?")
    assert state_of([]) is State.GREEN
    assert state_of([newer]) is State.GREEN
    assert state_of([newer, unknown]) is State.INCONCLUSIVE
    assert state_of([unknown, slow]) is State.DEGRADED
    assert state_of([slow, silent, unknown]) is State.DOWN


def test_a_reader_sees_the_worst_first_and_nothing_twice():
    slow, silent = Finding(Kind.SLOW_TOKENS, "slow"), Finding(Kind.SILENT, "silent")
    found = Checked("a", (slow,)).with_more([silent, slow])
    assert found.findings == (silent, slow)
    assert found.state is State.DOWN


@pytest.mark.parametrize("kind", [Kind.EMPTY, Kind.NO_ANSWER, Kind.CHANGING])
def test_of_a_model_that_is_not_proven_that_comes_first_whatever_else_is_bad(kind: Kind):
    left, more = Finding(Kind.UNPROVEN, "not seen"), Finding(kind, "bad")
    found = Checked("a", (more,)).with_more([left, Finding(Kind.CHANGED_OUTSIDE, "held")])
    assert found.findings[0] is left
    assert found.state is max(left.state, more.state, key=lambda one: one.badness)


@pytest.mark.parametrize("kind", [Kind.OTHER_KEY, Kind.KEY_REFUSED])
def test_a_key_that_is_refused_comes_before_that_a_model_is_not_proven(kind: Kind):
    refused = Finding(kind, "another key")
    found = Checked("a", (Finding(Kind.UNPROVEN, "not seen"),)).with_more([refused])
    assert found.findings[0] is refused


def test_a_finding_says_where_and_why_and_what_to_run():
    finding = Finding(Kind.SILENT, "no byte for 30 s", "POST\n/v1", replica="pod-1")
    assert finding.text == "replica pod-1: no byte for 30 s (POST /v1)"
    assert finding.next_for("qwen") == "vllm-flows check qwen --repair"
    assert Finding(Kind.NOT_ROUTED, "?", next_command="look").next_for("qwen") == "look"
    assert Finding(Kind.ROUTER_DOWN, "?").next_for("(router)") == "vllm-flows router-logs"


def test_what_models_share_is_not_counted_among_them():
    down = (Finding(Kind.ROUTER_DOWN, "x"),)
    health = Health(0, 1, (Checked("a"), Checked("(router)", down)))
    assert health.counts() == {
        State.GREEN: 1,
        State.INCONCLUSIVE: 0,
        State.DEGRADED: 0,
        State.DOWN: 0,
    }
    assert health.state is State.DOWN
