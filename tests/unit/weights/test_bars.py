"""The bars on a terminal, drawn into a text."""

from __future__ import annotations

import io

from rich.console import Console

from cli.bars import Bars
from vllm_flows.transfer import Progress


def test_a_bar_is_gone_before_the_next_line_is_said():
    drawn = io.StringIO()
    bars = Bars(Console(file=drawn, force_terminal=True, width=100))
    bars.move(Progress("a", "the weights pod is starting"))
    bars.move(Progress("b", "waiting for the weights pod"))
    bars.move(Progress("a", "weights complete", 1, 1, finished=True))
    before = len(drawn.getvalue())
    bars.say("a: weights complete")
    bars.close()
    after = drawn.getvalue()[before:]
    assert "a: weights complete" in after
    assert "waiting for the weights pod" in after
    assert "the weights pod is starting" not in after


def test_after_the_last_bar_nothing_is_drawn_until_another_begins():
    drawn = io.StringIO()
    bars = Bars(Console(file=drawn, force_terminal=True, width=100))
    bars.move(Progress("a", "the weights pod is starting"))
    bars.move(Progress("a", "weights complete", 1, 1, finished=True))
    before = len(drawn.getvalue())
    bars.say("a: weights complete")
    assert drawn.getvalue()[before:] == "a: weights complete\n"
    bars.move(Progress("b", "waiting for the weights pod"))
    bars.move(Progress("b", "", 5, 10))
    bars.close()
    assert "50 % of 10 B" in drawn.getvalue()[before:]


def test_a_model_that_never_had_a_bar_ends_without_one():
    drawn = io.StringIO()
    bars = Bars(Console(file=drawn, force_terminal=True, width=100))
    bars.move(Progress("a", "weights complete", 1, 1, finished=True))
    bars.close()
    assert drawn.getvalue() == ""
