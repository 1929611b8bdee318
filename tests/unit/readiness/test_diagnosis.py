from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.diagnosis import diagnose, last_words, rollout_complete


def a_deployment(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "vllm-q-deployment-vllm", "namespace": "vllm", "generation": 2},
        "spec": {"replicas": 1, "template": {"metadata": {"annotations": {"digest": "new"}}}},
        "status": status,
    }


def a_pod(node: str | None = "n1", conditions: list[Any] | None = None, **status: Any) -> Any:
    return {
        "metadata": {"name": "pod-1", "labels": {"model": "q"}, "annotations": {"digest": "new"}},
        "spec": {"nodeName": node} if node else {},
        "status": {
            "conditions": conditions or [],
            "containerStatuses": [{"name": "vllm", "ready": False, **status}] if status else [],
        },
    }


COMPLETE = {"observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 1, "replicas": 1}


def test_a_rollout_is_complete_when_all_replicas_are_new_and_ready():
    assert rollout_complete(a_deployment(**COMPLETE))


@pytest.mark.parametrize(
    "change",
    [
        {"observedGeneration": 1},
        {"updatedReplicas": 0},
        {"readyReplicas": 0},
        {"replicas": 2},
    ],
)
def test_a_rollout_is_not_complete_before(change: dict[str, int]):
    assert not rollout_complete(a_deployment(**{**COMPLETE, **change}))


def test_a_model_with_no_replicas_is_complete_when_none_is_left():
    deployment = a_deployment(observedGeneration=2)
    deployment["spec"]["replicas"] = 0
    assert rollout_complete(deployment)


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "message": "Insufficient nvidia.com/gpu"}


@pytest.mark.parametrize(
    ("pod", "category", "definite", "text"),
    [
        (a_pod(None, [UNSCHEDULED]), "unschedulable", False, "Insufficient nvidia.com/gpu"),
        (a_pod(), "loading", False, "loading weights"),
        (
            a_pod(state={"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}),
            "image",
            False,
            "no such tag",
        ),
        (
            a_pod(state={"waiting": {"reason": "InvalidImageName", "message": "bad"}}),
            "image",
            True,
            "bad",
        ),
        (
            a_pod(state={"waiting": {"reason": "CreateContainerConfigError", "message": "no key"}}),
            "configuration",
            False,
            "no key",
        ),
        (
            a_pod(state={"terminated": {"exitCode": 2, "reason": "Error"}}, restartCount=0),
            "crash",
            True,
            "exit code 2",
        ),
        (
            a_pod(
                state={"waiting": {"reason": "CrashLoopBackOff"}},
                lastState={"terminated": {"exitCode": 1}},
                restartCount=1,
            ),
            "crash",
            False,
            "exit code 1 (1 restarts)",
        ),
        (
            a_pod(lastState={"terminated": {"exitCode": 1}}, restartCount=3),
            "crash",
            True,
            "(3 restarts)",
        ),
        (
            a_pod(
                lastState={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, restartCount=1
            ),
            "memory",
            False,
            "raise requestMemory",
        ),
    ],
)
def test_a_pods_state_becomes_a_diagnosis(pod: Any, category: str, definite: bool, text: str):  # noqa: FBT001 -- a column of the table
    found = diagnose(a_deployment(), [pod])
    assert (found.category, found.definite) == (category, definite)
    assert text in found.summary
    assert found.next_command


def test_pods_that_the_cluster_refuses_to_create_are_a_definite_failure():
    failure = {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity"}
    found = diagnose(a_deployment(observedGeneration=2, conditions=[failure]), [])
    assert found.definite
    assert "violates PodSecurity" in found.summary


def test_a_refusal_of_the_template_before_no_longer_counts():
    failure = {"type": "ReplicaFailure", "status": "True", "message": "no RuntimeClass"}
    found = diagnose(a_deployment(observedGeneration=1, conditions=[failure]), [])
    assert not found.definite


def test_a_definite_failure_of_one_replica_is_told_before_the_waiting_of_another():
    crashed = a_pod(lastState={"terminated": {"exitCode": 2}}, restartCount=1)
    assert diagnose(a_deployment(), [a_pod(), crashed]).definite


def test_what_was_wrong_with_a_pod_of_the_template_before_no_longer_counts():
    old = a_pod(state={"terminated": {"exitCode": 2}}, restartCount=5)
    old["metadata"]["annotations"] = {"digest": "old"}
    assert diagnose(a_deployment(), [old]).category == "starting"


def test_a_pod_that_crashed_before_and_loads_now_is_waited_for():
    found = diagnose(a_deployment(), [a_pod(state={"running": {}}, restartCount=3)])
    assert not found.definite
    assert found.summary.endswith("(after 3 restarts)")


def test_a_pod_on_its_way_out_is_no_reason():
    leaving = a_pod(lastState={"terminated": {"exitCode": 2}})
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert diagnose(a_deployment(), [leaving]).category == "starting"


def test_the_last_words_are_the_last_line_that_names_an_error():
    log = "INFO loading\nvllm: error: unrecognized arguments: --x\nINFO bye\n"
    assert last_words(log) == "vllm: error: unrecognized arguments: --x"
    assert last_words("only this\n") == "only this"
    assert last_words("") == ""
