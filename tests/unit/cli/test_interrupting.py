"""Ctrl-C and SIGTERM while a command works, in a process of its own."""

from __future__ import annotations

import signal
import subprocess

import pytest

from cli.interrupting import Interruptions, answer_sigterm
from tests.unit.cli.programs import working

WORKING = """
import time
from cli.interrupting import Interruptions, answer_sigterm
answer_sigterm()
Interruptions().arm()
try:
    print("armed", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("ending", flush=True)
    time.sleep({seconds})
"""


def start(seconds: float) -> subprocess.Popen[str]:
    """Start a command that takes so long to end in good order; return it once it works."""
    return working(WORKING.format(seconds=seconds), "armed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_command_end_in_good_order(number: signal.Signals):
    with start(0) as process:
        process.send_signal(number)
        output, _ = process.communicate()
    assert (output, process.returncode) == ("ending\n", 0)


def test_a_second_ctrl_c_ends_it_at_once_and_says_what_is_left_and_how_to_go_on():
    with start(60) as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert process.stdout.readline() == "ending\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    first, second = errors.split("\n\n")
    assert "Ctrl-C again ends at once" in first
    assert "ended at once, and helm with it" in second
    assert "next: the same command again" in second


def test_signals_that_the_caller_ignores_stay_ignored(monkeypatch: pytest.MonkeyPatch):
    armed: list[int] = []
    monkeypatch.setattr(signal, "getsignal", lambda _number: signal.SIG_IGN)
    monkeypatch.setattr(signal, "signal", lambda number, _answer: armed.append(number))
    Interruptions().arm()
    answer_sigterm()
    assert not armed
