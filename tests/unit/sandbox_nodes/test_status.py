"""A pod's status follows from its containers as a kubelet computes it."""

from __future__ import annotations

import pytest

from sandbox.agent.records import Record, record_of, running, terminated, waiting
from sandbox.agent.status import Phase, Policy, phase_of, restarts, status_of

NOW = "2026-01-02T03:04:05Z"


def record(state: dict[str, object], *, name: str = "main", **more: object) -> Record:
    return Record(name, "image", state=state, **more)  # type: ignore[arg-type]  # a test's shorthand


RUNS = record(running(NOW), ready=True, started=True)
NEVER_RAN = record(waiting("ContainerCreating"))
CRASHING = record(waiting("CrashLoopBackOff"), last_state=terminated(1), restart_count=2)


@pytest.mark.parametrize(
    ("policy", "code", "init", "expected"),
    [
        ("Always", 0, False, True),
        ("Always", 0, True, False),
        ("Always", 1, True, True),
        ("OnFailure", 0, False, False),
        ("OnFailure", 1, False, True),
        ("Never", 1, False, False),
    ],
)
def test_the_policy_decides_about_a_restart(
    *, policy: Policy, code: int, init: bool, expected: bool
) -> None:
    assert restarts(policy, code, init=init) is expected


@pytest.mark.parametrize(
    ("policy", "init", "main", "phase"),
    [
        ("Always", [], [NEVER_RAN], "Pending"),
        ("Always", [], [RUNS, NEVER_RAN], "Pending"),
        ("Always", [], [RUNS], "Running"),
        ("Always", [], [CRASHING], "Running"),
        ("Always", [], [record(terminated(0))], "Running"),
        ("OnFailure", [], [record(terminated(0))], "Succeeded"),
        ("OnFailure", [], [record(terminated(1))], "Running"),
        ("Never", [], [record(terminated(0)), record(terminated(2))], "Failed"),
        ("Never", [], [record(terminated(0)), RUNS], "Running"),
        ("Always", [RUNS], [NEVER_RAN], "Pending"),
        ("Always", [CRASHING], [NEVER_RAN], "Pending"),
        ("Never", [record(terminated(1))], [NEVER_RAN], "Failed"),
        ("Always", [record(terminated(0))], [RUNS], "Running"),
    ],
)
def test_the_phase_follows_from_the_containers(
    policy: Policy, init: list[Record], main: list[Record], phase: Phase
) -> None:
    assert phase_of(policy, init, main) == phase


def conditions(status: dict[str, object]) -> dict[str, dict[str, object]]:
    listed = status["conditions"]
    assert isinstance(listed, list)
    return {each["type"]: each for each in listed}


def test_a_pod_is_ready_when_every_container_is() -> None:
    status = status_of("Always", "10.244.0.2", [], [RUNS], {}, NOW)
    assert conditions(status)["Ready"]["status"] == "True"
    assert status["podIP"] == "10.244.0.2"
    assert status["startTime"] == NOW


def test_an_unready_container_is_named() -> None:
    status = status_of("Always", "10.244.0.2", [], [RUNS, CRASHING], {}, NOW)
    assert conditions(status)["Ready"]["status"] == "False"
    assert conditions(status)["Ready"]["message"] == "containers with unready status: [main]"


def test_an_unchanged_condition_keeps_its_time() -> None:
    before = status_of("Always", "10.244.0.2", [], [RUNS], {}, NOW)
    after = status_of("Always", "10.244.0.2", [], [RUNS], before, "2026-01-02T04:00:00Z")
    assert after == before


def test_a_completed_pod_says_so() -> None:
    status = status_of("Never", "10.244.0.2", [], [record(terminated(0))], {}, NOW)
    assert conditions(status)["Ready"]["reason"] == "PodCompleted"


def test_a_container_of_an_agent_that_is_gone_counts_as_killed() -> None:
    known = {"name": "main", "restartCount": 2, "state": running(NOW)}
    adopted = record_of({"name": "main", "image": "i"}, known, init=False, reason="")
    assert adopted.restart_count == 2
    assert adopted.exit_code == 137
    assert adopted.state["terminated"]["reason"] == "ContainerStatusUnknown"


def test_a_container_that_ended_well_stays_ended() -> None:
    known = {"name": "main", "restartCount": 0, "state": terminated(0)}
    adopted = record_of({"name": "main", "image": "i"}, known, init=False, reason="")
    assert adopted.exit_code == 0
