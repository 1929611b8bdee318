from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from vllm_flows.models import Model
from vllm_flows.observed import HubFile, Verdict
from vllm_flows.settings import load_settings
from vllm_flows.weights import job_state, may_adopt, newest_pod, progress
from vllm_flows.weights_manifests import WeightsOrder, weights_job
from vllm_flows.weights_order import MORE_ROOM
from vllm_flows.weights_refusals import refusal_of

VERDICT = Verdict("qwen", "o/qwen", "a" * 40, files=(HubFile("a", 7, None, "b"),))
MODEL = Model(name="qwen", modelURL="o/qwen")


def wanted(commit: str = "a" * 40, claim: str = "u1", *hosts: str, **changes: Any) -> Any:
    order = WeightsOrder(nodes=hosts or ("gpu-1",), claim=claim)
    verdict = replace(VERDICT, commit=commit)
    return weights_job(MODEL, verdict, load_settings(**changes), order)


def a_job(*conditions: tuple[str, str]) -> dict[str, Any]:
    return {
        **wanted(),
        "status": {
            "conditions": [
                {"type": kind, "status": "True", "reason": reason, "message": reason}
                for kind, reason in conditions
            ]
        },
    }


def a_pod(created: str = "2026-01-02T00:00:01Z", **status: Any) -> dict[str, Any]:
    metadata = {"name": "p", "creationTimestamp": created}
    return {"metadata": metadata, "spec": {"nodeName": "gpu-1"}, "status": status}


def test_progress_is_the_last_line_that_tells_it():
    assert progress("progress 1 10\nwarning: x\nprogress 5 10\n{...}") == (5, 10)
    assert progress("nothing yet") is None


def test_a_running_job_says_how_far_it_is():
    state = job_state(a_job(), [a_pod()], "progress 500000 2000000")
    assert (state.phase, state.done, state.total) == ("running", 500000, 2000000)
    assert (state.text, state.node) == ("fetching 2 MB", "gpu-1")


def test_files_that_are_read_again_are_not_said_to_be_fetched():
    log = "progress 1 2000000\nchecking 500000 2000000"
    assert job_state(a_job(), [a_pod()], log).text == "checking 2 MB"


def test_a_complete_job_tells_which_commits_are_on_the_volume():
    ended = {"terminated": {"exitCode": 0, "message": json.dumps({"complete": ["a", "b"]})}}
    pod = a_pod(containerStatuses=[{"state": ended}])
    assert job_state(a_job(("Complete", "")), [pod], "").commits == ("a", "b")


def test_a_file_that_came_damaged_is_said_to_be_fetched_again():
    state = job_state(a_job(), [a_pod()], "progress 1 9\nagain a b.bin\nprogress 5 9")
    assert state.text == "fetching 9 B"
    assert state.setbacks == (
        "a b.bin: what came has not the hash that the Hub lists; fetched again",
    )
    for end in ("Complete", "Failed"):  # it may be over before anybody looks
        ended = job_state(a_job((end, "x")), [a_pod()], "again a b.bin\nprogress 9 9")
        assert ended.setbacks == state.setbacks


def test_a_failed_attempt_is_a_setback_and_one_at_work_is_none():
    assert job_state(a_job(), [a_pod()], "progress 5 9").setbacks == ()
    failed = job_state(a_job(), [failed_pod()], "again a\nprogress 5 9\nwords")
    assert failed.setbacks[-1] == failed.text == "attempt 1 failed (words); trying again"
    assert len(failed.setbacks) == 2


@pytest.mark.parametrize(
    ("error", "lacks"),
    [
        (f"the volume has 0 bytes of room and 9 are still to come; {MORE_ROOM}", True),
        ("the Hub refuses o/qwen to this token (HTTP 403)", False),
    ],
)
def test_a_job_that_lacks_room_is_told_from_others(error: str, *, lacks: bool):
    ended = failed_pod(json.dumps({"error": error}), exitCode=3)
    assert job_state(a_job(("Failed", "PodFailurePolicy")), [ended], "").lacks_room is lacks
    assert not job_state(a_job(), [ended], "").lacks_room


def test_a_repository_without_bytes_is_no_division_by_zero():
    assert job_state(a_job(), [a_pod()], "progress 0 0").text == "fetching 0 B"


def test_a_job_is_idle_until_its_container_runs_and_between_attempts():
    waiting = a_pod(containerStatuses=[{"state": {"waiting": {"reason": "ErrImagePull"}}}])
    running = a_pod(containerStatuses=[{"state": {"running": {}}}])
    for pods in ([], [a_pod()], [waiting], [failed_pod()]):
        assert job_state(a_job(), pods, "").idle
    for pods, log in (([running], ""), ([a_pod()], "progress 1 9")):
        assert not job_state(a_job(), pods, log).idle
    assert job_state(a_job(), [running], "").text == "the weights pod is starting"


def a_refusal(moment: str, message: str = "no", uid: str = "job-1", **event: Any) -> dict[str, Any]:
    return {
        "metadata": {"creationTimestamp": moment},
        "reason": "FailedCreate",
        "message": message,
        "involvedObject": {"uid": uid},
        **event,
    }


def test_the_last_refusal_of_a_jobs_pod_is_told_by_its_events():
    job = {"metadata": {"uid": "job-1"}}
    first, last = "2026-01-02T00:00:01Z", "2026-01-02T00:00:02Z"
    events = [
        a_refusal(first, "quota", lastTimestamp=last),
        a_refusal("2026-01-02T00:00:03Z", "of the Job before", uid="job-0"),
        a_refusal("2026-01-02T00:00:04Z", "made", reason="SuccessfulCreate"),
        a_refusal(first, "older", eventTime=first),
    ]
    assert refusal_of(events, job, None) == "quota"
    assert refusal_of([], job, None) == ""


def test_a_refusal_from_before_the_newest_pod_is_over():
    job = {"metadata": {"uid": "job-1"}}
    pod = a_pod("2026-01-02T00:00:05Z")
    assert refusal_of([a_refusal("2026-01-02T00:00:04Z")], job, pod) == ""
    assert refusal_of([a_refusal("2026-01-02T00:00:06Z")], job, pod) == "no"


def test_a_complete_job_is_complete():
    assert job_state(a_job(("Complete", "")), [], "").phase == "complete"


def test_a_failed_job_gives_the_programs_own_reason():
    ended = {"terminated": {"exitCode": 3, "message": json.dumps({"error": "no room"})}}
    pod = a_pod(containerStatuses=[{"state": ended}])
    state = job_state(a_job(("Failed", "PodFailurePolicy")), [pod], "some log")
    assert (state.phase, state.text) == ("failed", "no room")


def test_a_failed_job_without_a_reason_gives_its_last_line():
    state = job_state(a_job(("Failed", "BackoffLimitExceeded")), [a_pod()], "a\nConnectionError\n")
    assert state.text == "ConnectionError"


def test_a_job_past_its_deadline_says_so_whatever_it_printed_last():
    state = job_state(a_job(("Failed", "DeadlineExceeded")), [a_pod()], "progress 1 10")
    assert state.text == "DeadlineExceeded"


def test_the_newest_attempt_speaks():
    old, new = a_pod("2026-01-02T00:00:01Z"), a_pod("2026-01-02T00:05:00Z")
    assert newest_pod([new, old]) is new


def failed_pod(log_message: str = "", **terminated: Any) -> dict[str, Any]:
    ended = {"exitCode": 1, "reason": "Error", "message": log_message, **terminated}
    return a_pod(phase="Failed", containerStatuses=[{"state": {"terminated": ended}}])


def test_a_failed_attempt_is_said_with_its_number_and_the_programs_error():
    pods = [failed_pod(), failed_pod(json.dumps({"error": "HTTP 503"}))]
    pods[1]["metadata"]["creationTimestamp"] = "2026-01-02T00:05:00Z"
    state = job_state(a_job(), pods, "progress 5 10\nTraceback")
    assert state.text == "attempt 2 failed (HTTP 503); trying again"
    assert (state.phase, state.done, state.total) == ("running", 5, 10)


def test_a_failed_attempt_without_an_error_gives_its_last_line_that_is_no_progress():
    log = "ReadTimeout: too slow\nprogress 5 10\n"
    state = job_state(a_job(), [failed_pod()], log)
    assert state.text == "attempt 1 failed (ReadTimeout: too slow); trying again"


def test_a_failed_attempt_gives_the_reason_of_kubernetes():
    killed = failed_pod(reason="OOMKilled", exitCode=137)
    assert "(OOMKilled)" in job_state(a_job(), [killed], "progress 5 10").text
    evicted = a_pod(phase="Failed", reason="Evicted", message="low on ephemeral-storage")
    assert "(low on ephemeral-storage)" in job_state(a_job(), [evicted], "").text
    assert "(exit code 1)" in job_state(a_job(), [failed_pod()], "progress 5 10").text


def test_an_attempt_after_a_failed_one_speaks_for_itself():
    pods = [failed_pod(), a_pod("2026-01-02T00:05:00Z")]
    assert job_state(a_job(), pods, "progress 5 10").text == "fetching 10 B"


def test_no_other_attempt_is_promised_after_the_last():
    last = {**a_job(), "spec": {"backoffLimit": 0}}
    assert job_state(last, [failed_pod()], "x").text == "attempt 1 failed (x)"
    decided = a_job(("FailureTarget", "PodFailurePolicy"))
    assert job_state(decided, [failed_pod()], "x").text == "attempt 1 failed (x)"
    assert job_state(a_job(), [failed_pod(exitCode=3)], "x").text == "attempt 1 failed (x)"


def test_a_failed_job_whose_pod_says_nothing_gives_the_reason_of_kubernetes():
    state = job_state(a_job(("Failed", "BackoffLimitExceeded")), [failed_pod()], "")
    assert state.text == "BackoffLimitExceeded"


def test_a_job_without_a_pod_is_made_anew_as_what_refused_it_may_be_mended():
    assert not may_adopt(a_job(), [], wanted())
    assert not may_adopt(a_job(), [failed_pod()], wanted())
    assert may_adopt(a_job(), [a_pod(phase="Pending")], wanted())


def test_a_job_that_filled_an_earlier_claim_of_the_same_name_is_not_adopted():
    assert may_adopt(a_job(("Complete", "")), [], wanted())
    assert not may_adopt(a_job(("Complete", "")), [], wanted(claim="u2"))


def test_a_complete_job_is_adopted_wherever_it_ran():
    assert may_adopt(a_job(("Complete", "")), [], wanted("a" * 40, "u1", "gpu-2"))


def test_a_failed_job_or_one_for_another_commit_is_not_adopted():
    assert not may_adopt(a_job(("Failed", "x")), [], wanted())
    assert not may_adopt(a_job(), [], wanted("b" * 40))
    going = a_job()
    going["metadata"] = {**going["metadata"], "deletionTimestamp": "2026-01-02T00:00:00Z"}
    assert not may_adopt(going, [], wanted())


@pytest.mark.parametrize("change", [{"model_tag": "v2"}, {"weights_user": 1000}])
def test_a_job_that_runs_something_else_or_as_somebody_else_is_not_adopted(change: dict[str, Any]):
    assert not may_adopt(a_job(), [a_pod(phase="Running")], wanted(**change))


def test_a_job_from_before_such_marks_is_not_adopted():
    old = a_job()
    del old["metadata"]["annotations"]
    assert not may_adopt(old, [], wanted())


READY = [{"type": "Ready", "status": "True"}]


@pytest.mark.parametrize(
    ("hosts", "status", "node", "adopted"),
    [
        (("gpu-1", "gpu-2"), {"phase": "Pending"}, "gpu-1", True),  # it pulls the image
        (("gpu-1", "gpu-2"), {"phase": "Pending"}, "", False),  # no node takes it any more
        (("gpu-1", "gpu-2"), {"phase": "Failed"}, "gpu-1", False),  # the next one is as bound
        (("gpu-2",), {"phase": "Running", "conditions": READY}, "gpu-1", True),  # cordoned
        (("gpu-2",), {"phase": "Running", "conditions": []}, "gpu-1", False),  # a node that is gone
        (("gpu-2",), {"phase": "Pending"}, "gpu-1", False),  # the volume is attached elsewhere
        (("gpu-1",), {"phase": "Pending"}, "", True),  # nothing changed: it waits for its node
    ],
)
def test_a_job_of_another_place_is_adopted_only_while_it_gets_on(
    hosts: tuple[str, ...], status: dict[str, Any], node: str, *, adopted: bool
):
    pod = {**a_pod(**status), "spec": {"nodeName": node} if node else {}}
    assert may_adopt(a_job(), [pod], wanted("a" * 40, "u1", *hosts)) is adopted


def test_a_pod_on_any_node_will_do_where_the_hosts_are_not_known():
    anywhere = weights_job(MODEL, VERDICT, load_settings(), WeightsOrder(claim="u1"))
    assert may_adopt(a_job(), [a_pod(phase="Pending")], anywhere)
    assert not may_adopt(a_job(), [], anywhere)


def test_a_pod_on_its_way_out_gets_nowhere():
    pod = a_pod(phase="Running", conditions=READY)
    pod["metadata"]["deletionTimestamp"] = "2026-01-02T00:10:00Z"
    assert not may_adopt(a_job(), [pod], wanted("a" * 40, "u1", "gpu-1", "gpu-2"))


def test_the_newest_attempt_decides_whether_a_job_gets_on():
    pods = [a_pod(phase="Failed"), a_pod("2026-01-02T00:05:00Z", phase="Pending")]
    assert may_adopt(a_job(), pods, wanted("a" * 40, "u1", "gpu-1", "gpu-2"))
