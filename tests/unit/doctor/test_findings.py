from __future__ import annotations

import pytest

from vllm_flows import errors
from vllm_flows.doctor_findings import Finding, State, failed, healthy


@pytest.mark.parametrize(
    ("error", "state", "found"),
    [
        (errors.PlacementError("no room", why="full"), State.PROBLEM, "no room: full"),
        (errors.NoRightError("no right to list nodes", why="long"), State.UNKNOWN, "no right to"),
        (errors.ClusterUnavailableError("silent"), State.UNKNOWN, "silent"),
        (errors.MissingProgramError("helm is not installed"), State.UNKNOWN, "not looked at: helm"),
        (KeyError("spec"), State.UNKNOWN, "something unexpected: KeyError: 'spec'"),
        (RuntimeError(), State.UNKNOWN, "something unexpected: RuntimeError: "),
    ],
)
def test_a_question_that_fails_is_a_problem_only_when_something_was_seen(
    error: Exception, state: State, found: str
):
    finding = failed("gpus", error)
    assert (finding.check, finding.state) == ("gpus", state)
    assert finding.found.startswith(found)


def test_only_a_problem_is_unhealthy():
    well = [Finding("a", State.OK, ""), Finding("b", State.WARNING, ""), failed("c", OSError())]
    assert healthy(well)
    assert not healthy([*well, Finding("d", State.PROBLEM, "")])


def test_a_row_has_four_texts():
    row = Finding("a", State.OK, "b").row()
    assert row == {"check": "a", "state": "ok", "found": "b", "fix": ""}
