from __future__ import annotations

import json
from typing import Any

from vllm_flows.observed import JOB_DIGEST_ANNOTATION
from vllm_flows.weights import job_state, may_adopt, newest_pod, progress
from vllm_flows.weights_manifests import job_name


def wanted(commit: str = "a" * 40, digest: str = "d") -> dict[str, Any]:
    annotations = {JOB_DIGEST_ANNOTATION: digest}
    return {"metadata": {"name": job_name("qwen", commit), "annotations": annotations}}


def a_job(*conditions: tuple[str, str], created: str = "2026-01-02T00:00:00Z") -> dict[str, Any]:
    return {
        "metadata": {**wanted()["metadata"], "creationTimestamp": created},
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


def test_a_repository_without_bytes_is_no_division_by_zero():
    assert job_state(a_job(), [a_pod()], "progress 0 0").text == "fetching 0 B"


def test_a_pod_that_no_node_takes_is_said():
    condition = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}
    state = job_state(a_job(), [a_pod(conditions=[condition])], "")
    assert state.text == "no node takes the weights pod: 0/2 nodes"


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


def claim(created: str) -> dict[str, Any]:
    return {"metadata": {"creationTimestamp": created}}


def test_a_job_at_work_on_this_claim_is_adopted():
    assert may_adopt(a_job(), claim("2026-01-01T00:00:00Z"), wanted())


def test_a_job_that_filled_an_earlier_claim_of_the_same_name_is_not_adopted():
    assert not may_adopt(a_job(("Complete", "")), claim("2026-01-03T00:00:00Z"), wanted())


def test_a_failed_job_or_one_for_another_commit_is_not_adopted():
    earlier = claim("2026-01-01T00:00:00Z")
    assert not may_adopt(a_job(("Failed", "x")), earlier, wanted())
    assert not may_adopt(a_job(), earlier, wanted("b" * 40))


def test_a_job_that_runs_another_image_is_not_adopted():
    assert not may_adopt(a_job(), claim("2026-01-01T00:00:00Z"), wanted(digest="other"))
