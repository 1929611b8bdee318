"""What was seen of a model, and what it becomes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from vllm_flows.completion_checks import NoTextError, OtherModelError
from vllm_flows.completions import (
    BrokenOffError,
    KeyRefusedError,
    NotYetError,
    SilentError,
    UnprotectedError,
    UnreachedError,
)
from vllm_flows.diagnosis_categories import Category, Diagnosis
from vllm_flows.drift import Drift
from vllm_flows.errors import AccessError, CompletionError, HubUnavailableError, VllmFlowsError
from vllm_flows.health import HUB, RELEASE, ROUTER, Checked, Kind, State
from vllm_flows.health_hub import judge_hub, judge_verdict
from vllm_flows.health_judging import (
    Heard,
    judge_heard,
    judge_replicas,
    judge_restarts,
    judge_ways,
    lost_on_the_way,
    restart_counts,
)
from vllm_flows.health_memory import NOTHING, Baseline, Memory
from vllm_flows.health_release import judge_drifts, judge_leftovers, judge_release
from vllm_flows.health_router import Counts, counts, judge_errors
from vllm_flows.health_shapes import Shape
from vllm_flows.health_speed import Speed
from vllm_flows.observed import Access, Leftover, Release, ReleaseState, Verdict
from vllm_flows.refused_key import OtherKeyError
from vllm_flows.status import Health, Status, status_of

BASELINE = Baseline("d", Speed(0.1, 100), {"text": Shape(100, 30), "json": Shape(20, 9, json=True)})
WELL = Heard(speed=Speed(0.1, 100), shapes=BASELINE.shapes)


def kinds(found: Any) -> list[Kind]:
    return [one.kind for one in found]


@pytest.mark.parametrize("refusal", [OtherKeyError("refused"), KeyRefusedError("refused")])
def test_a_refused_key_comes_before_the_answer_that_did_not_come_for_it(refusal: VllmFlowsError):
    routed = Heard(error=NotYetError("not served yet"))
    found = judge_ways(routed, [Heard("pod-1", error=refusal)], None)
    first, second = Checked("qwen").with_more(found).findings
    assert (first.replica, second.kind) == ("pod-1", Kind.NO_ANSWER)
    assert Checked("qwen").with_more(found).state is State.DOWN


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SilentError("no byte"), Kind.SILENT),
        (OtherModelError("'x' answered"), Kind.WRONG_MODEL),
        (NoTextError("no text"), Kind.EMPTY),
        (KeyRefusedError("refused"), Kind.KEY_REFUSED),
        (UnprotectedError("open"), Kind.KEY_IGNORED),
        (NotYetError("no answer"), Kind.NO_ANSWER),
        (BrokenOffError("broke off"), Kind.NO_ANSWER),
        (CompletionError("no completion"), Kind.WRONG_ANSWER),
        (VllmFlowsError("anything"), Kind.WRONG_ANSWER),
    ],
)
def test_each_way_of_not_answering_has_its_name(error: VllmFlowsError, kind: Kind):
    (found,) = judge_heard(Heard("pod-1", error=error), None)
    assert (found.kind, found.replica, found.what) == (kind, "pod-1", error.what)


def test_a_question_that_the_way_may_have_lost_tells_nothing():
    (found,) = judge_heard(Heard(error=SilentError("no byte"), way="the API is silent"), None)
    assert found.state is State.INCONCLUSIVE
    assert "the API is silent" in found.text


def test_what_is_well_is_no_finding():
    assert judge_heard(WELL, BASELINE) == []
    assert judge_heard(WELL, None) == []


def test_slow_rubbish_and_other_shapes_are_told_apart():
    slow = Heard(speed=Speed(4.0, 5), shapes=BASELINE.shapes)
    found = judge_heard(slow, BASELINE)
    assert kinds(found) == [Kind.SLOW_START, Kind.SLOW_TOKENS]
    assert [one.what for one in found] == [
        "first token after 4 s, and before it was 0.1 s",
        "5 tokens per second, and before it was 100",
    ]
    assert judge_heard(slow, None) == []
    junk = Heard(speed=Speed(0.1, 100), shapes={"text": Shape(90, 1)})
    assert kinds(judge_heard(junk, None)) == [Kind.RUBBISH]
    prose = Heard(speed=Speed(0.1, 100), shapes={"json": Shape(20, 9)})
    assert kinds(judge_heard(prose, BASELINE)) == [Kind.SHAPE]
    assert kinds(judge_heard(Heard(open=True), None)) == [Kind.KEY_IGNORED]


def test_a_model_that_always_spoke_rubbish_is_as_it_was():
    junk = Heard(shapes={"text": Shape(90, 1)})
    assert judge_heard(junk, Baseline("d", Speed(), {"text": Shape(80, 1)})) == []


def test_a_replica_that_the_router_hides_is_named():
    bad = Heard("pod-2", error=NoTextError("no text"))
    (found,) = judge_ways(WELL, [Heard("pod-1"), bad], None)
    assert (found.kind, found.replica) == (Kind.EMPTY, "pod-2")


def test_what_both_the_router_and_the_replica_tell_is_told_once_with_the_replica():
    error = SilentError("no byte")
    (found,) = judge_ways(Heard(error=error), [Heard("pod-1", error=error)], None)
    assert found.replica == "pod-1"


def test_an_engine_that_answers_is_not_at_fault_where_the_router_does_not():
    (found,) = judge_ways(Heard(error=NotYetError("not served yet")), [Heard("pod-1")], None)
    assert found.kind is Kind.NOT_ROUTED


@pytest.mark.parametrize("error", [SilentError("x"), UnreachedError("x"), BrokenOffError("x")])
def test_what_is_lost_on_the_way_to_an_engine_that_answers_is_the_router_s(error: CompletionError):
    routed = Heard(error=error)
    assert judge_ways(routed, [Heard("pod-1")], None) == []
    assert lost_on_the_way(routed, [Heard("pod-1")])
    assert not lost_on_the_way(routed, [Heard("pod-1", error=error)])
    assert not lost_on_the_way(WELL, [Heard("pod-1")])
    assert not lost_on_the_way(routed, [])


def test_a_router_that_answers_nobody_is_no_model_s_fault():
    lost = Heard(error=NotYetError("no answer"), way="the router answers nobody")
    assert judge_ways(lost, [Heard("pod-1")], None) == []
    assert kinds(judge_ways(lost, [], None)) == [Kind.NOT_MEASURED]


@pytest.mark.parametrize(
    ("health", "kind"),
    [
        (Health.ABSENT, Kind.NOT_DEPLOYED),
        (Health.DOWN, Kind.NO_REPLICA),
        (Health.DEGRADED, Kind.REPLICAS),
        (Health.UNSETTLED, Kind.CHANGING),
        (Health.AT_REST, Kind.AT_REST),
    ],
)
def test_replicas_that_are_not_ready_are_told_with_the_diagnosis(health: Health, kind: Kind):
    diagnosis = Diagnosis(Category.NO_FREE_GPU, "no node has a free GPU", next_command="look")
    (found,) = judge_replicas(Status("a", health, wanted=2, ready=1), diagnosis)
    assert found.kind is kind
    if health in {Health.DOWN, Health.DEGRADED}:
        assert (found.why, found.next_command) == ("no node has a free GPU", "look")


def test_a_model_that_is_not_deployed_is_down():
    (absent,) = status_of([], {"a": 1}, "ns", datetime(2026, 1, 1, tzinfo=UTC))
    (found,) = judge_replicas(absent, None)
    assert (found.kind, found.state) == (Kind.NOT_DEPLOYED, State.DOWN)


def test_a_model_that_the_router_does_not_reach_by_its_key_is_told_with_what_brings_it():
    health = Health.DEGRADED
    known = {"diagnosis": "the router does not have it yet", "next_command": "vllm-flows install"}
    (found,) = judge_replicas(Status("a", health, wanted=1, ready=1, **known), None)  # type: ignore[arg-type]  # texts
    assert (found.kind, found.text) == (Kind.CHANGING, "the router does not have it yet")
    assert found.next_for("a") == "vllm-flows install"
    (found,) = judge_replicas(Status("a", health, wanted=1, ready=1, **known), None, changing=True)  # type: ignore[arg-type]  # texts
    assert found.text.startswith("a run is changing")


def test_while_a_run_changes_the_namespace_nobody_is_down_who_is_not_ready():
    (found,) = judge_replicas(Status("a", Health.DOWN, wanted=1), None, changing=True)
    assert found.state is State.INCONCLUSIVE
    ready = Status("a", Health.READY, wanted=1, ready=1)
    assert judge_replicas(ready, None, changing=True) == []


def test_a_model_that_was_scaled_to_none_in_spite_of_models_yaml_is_down():
    gone = Status("a", Health.DOWN, diagnosis="scaled to 0", next_command="vllm-flows install")
    (found,) = judge_replicas(gone, None)
    assert (found.kind, found.state) == (Kind.NO_REPLICA, State.DOWN)
    assert (found.text, found.next_for("a")) == ("scaled to 0", "vllm-flows install")
    (found,) = judge_replicas(gone, None, changing=True)
    assert found.state is State.INCONCLUSIVE
    (found,) = judge_replicas(Status("a", Health.AT_REST), None, changing=True)
    assert found.state is State.GREEN


@pytest.mark.parametrize("health", [Health.READY, Health.UNPROVEN])
def test_ready_replicas_are_no_finding(health: Health):
    assert judge_replicas(Status("a", health, wanted=2, ready=2), None) == []


def pod(name: str, count: int, **last: Any) -> dict[str, Any]:
    state = {"terminated": last} if last else {}
    statuses = [{"restartCount": count, "lastState": state}]
    return {"metadata": {"name": name}, "status": {"containerStatuses": statuses}}


def test_restarts_since_the_last_check_count_and_those_of_before_do_not():
    pods = [pod("a", 3, reason="OOMKilled", exitCode=137, finishedAt="now"), pod("b", 1)]
    memory = Memory(at=1.0, restarts={"a": 1, "b": 1})
    (found,) = judge_restarts(pods, memory)
    assert (found.kind, found.replica) == (Kind.RESTARTS, "a")
    assert found.text == (
        "replica a: restarted 2 times since the last check (OOMKilled, exit code 137, at now)"
    )
    assert judge_restarts(pods, Memory(at=1.0, restarts=restart_counts(pods))) == []


def test_the_first_check_of_a_model_only_counts_its_restarts():
    assert judge_restarts([pod("a", 9)], NOTHING) == []


PAGE = """# HELP vllm:request_errors_total Total request errors
vllm:num_incoming_requests_total{model="qwen"} 1000.0
vllm:num_incoming_requests_total{model="phi"} NaN
vllm:num_incoming_requests_created{model="qwen"} 1.7e+09
vllm:request_errors_total{server="http://10.0.0.1:8000",model="qwen",error_type="A"} 20.0
vllm:request_errors_total{server="http://10.0.0.2:8000",model="qwen",error_type="B"} 5.0
vllm:num_requests_running{server="http://10.0.0.2:8000"} 3.0
vllm:num_requests_running{server="http://10.0.0.1:8000"} 0.0
"""


def test_the_counters_of_all_routers_are_summed():
    found = counts([PAGE, PAGE, "nonsense"])
    assert (found.requests["qwen"], found.errors["qwen"], found.told) == (2000, 50, True)
    assert found.busy("10.0.0.2")
    assert not found.busy("10.0.0.1")
    assert not found.busy("")


@pytest.mark.parametrize(
    ("before", "found"),
    [
        ((0, 0), True),
        ((23, 900), False),  # two errors are not worth waking anybody
        ((20, 0), False),  # five of a thousand
        ((20, 900), True),
        ((900, 9000), True),  # the router was replaced, and counts anew
    ],
)
def test_requests_that_broke_count_by_number_and_by_share(before: tuple[int, int], *, found: bool):
    memory = Memory(errors=before[0], requests=before[1])
    assert bool(judge_errors("qwen", counts([PAGE]), memory)) is found


def test_a_router_that_counts_no_errors_and_a_first_check_tell_nothing():
    assert judge_errors("qwen", counts([PAGE]), NOTHING) == []
    assert judge_errors("qwen", Counts(), Memory(errors=0, requests=0)) == []


COMMIT = "a" * 40


def test_a_newer_revision_is_worth_knowing_and_no_fault():
    verdict = Verdict("qwen", "org/qwen", commit="b" * 40)
    (found,) = judge_verdict(verdict, COMMIT)
    assert (found.kind, found.state) == (Kind.NEWER, State.GREEN)
    assert judge_verdict(Verdict("qwen", "org/qwen", commit=COMMIT), COMMIT) == []


def test_a_newer_revision_that_did_not_do_is_not_praised():
    verdict = Verdict("qwen", "org/qwen", commit="b" * 40)
    (found,) = judge_verdict(verdict, COMMIT, {"b" * 40: "the answer has no text"})
    assert found.what.endswith("aaaaaaaa is served: it was tried and did not do")
    assert found.why == "the answer has no text"
    assert found.next_command == "vllm-flows update qwen --again"
    assert judge_verdict(verdict, COMMIT, {COMMIT: "slow"})[0].why == ""


def test_a_license_that_was_withdrawn_is_the_model_s_and_a_bad_token_nobody_s():
    refused = AccessError("access was refused", next_command="open it")
    gone = Verdict("qwen", "org/qwen", access=Access.REFUSED, problems=(refused,))
    (found,) = judge_verdict(gone, COMMIT)
    assert (found.kind, found.next_command) == (Kind.ACCESS, "open it")
    bad = Verdict("qwen", "org/qwen", access=Access.EXPIRED, problems=(refused,))
    assert judge_verdict(bad, COMMIT) == []
    assert kinds(judge_hub([bad, bad], None, None).findings) == [Kind.TOKEN]


def test_a_silent_hub_makes_no_model_anything():
    error = HubUnavailableError("the Hub does not answer")
    silent = Verdict("qwen", "org/qwen", access=Access.SILENT, problems=(error,))
    assert judge_verdict(silent, COMMIT) == []
    shared = judge_hub([silent], None, None)
    assert (shared.name, shared.state) == (HUB, State.INCONCLUSIVE)
    assert judge_hub([], None, error).state is State.INCONCLUSIVE
    assert judge_hub([], AccessError("ends soon"), None).state is State.DEGRADED
    assert judge_hub([], None, None).state is State.GREEN


def test_a_change_from_outside_is_told_of_the_model_that_it_is_about():
    found = judge_drifts(
        [
            Drift("Deployment", "vllm-qwen-deployment-vllm", ("spec.replicas: 1 -> 0",)),
            Drift("Service", "vllm-router-service"),
            Drift("Secret", "other", ("data",)),
        ],
        ["qwen", "phi"],
    )
    assert sorted(found) == sorted(["qwen", ROUTER, RELEASE])
    assert found["qwen"][0].what == "Deployment vllm-qwen-deployment-vllm: spec.replicas: 1 -> 0"


def test_a_release_that_helm_did_not_finish_is_told():
    assert judge_release(Release(ReleaseState.DEPLOYED)) == []
    (found,) = judge_release(Release(ReleaseState.ABSENT))
    assert (found.kind, found.state) == (Kind.NOT_DEPLOYED, State.DOWN)
    assert found.next_for(RELEASE) == "vllm-flows install"
    assert kinds(judge_release(Release(ReleaseState.PENDING_UPGRADE))) == [Kind.UNFINISHED]


def test_what_an_interrupted_run_left_is_a_finding_of_the_release():
    found, hot = judge_leftovers(
        [Leftover("Deployment", "vllm-trial-phi"), Leftover("Pod", "old", reached=True)]
    )
    assert found.state is State.DEGRADED
    assert found.what.startswith("Deployment vllm-trial-phi serves nobody, and goes (by the next")
    assert found.next_for("(release)") == "vllm-flows install"
    assert hot.what.startswith("Pod old still gets requests")


def test_what_an_interrupted_run_left_unproven_is_told_with_the_command_that_asks_it():
    left = Status("a", Health.UNPROVEN, diagnosis="not seen", next_command="vllm-flows update a")
    (found,) = judge_replicas(left, None)
    assert (found.kind, found.state) == (Kind.UNPROVEN, State.DEGRADED)
    assert found.next_for("a") == "vllm-flows update a"
    assert judge_replicas(left, None, changing=True) == []
    assert judge_replicas(Status("a", Health.UNPROVEN), None) == []
