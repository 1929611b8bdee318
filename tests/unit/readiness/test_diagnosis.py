"""From a Deployment, its pods and nodes to a diagnosis; cases name where their words come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.readiness.diagnosing import found
from vllm_flows.diagnosis import Evidence, diagnose, questions, rollout_complete
from vllm_flows.diagnosis_categories import Category

if TYPE_CHECKING:
    from conftest import Kubernetes

COMPLETE = {"updatedReplicas": 1, "readyReplicas": 1, "replicas": 1}


def test_a_rollout_is_complete_when_all_replicas_are_new_and_ready(kubernetes: Kubernetes):
    assert rollout_complete(kubernetes.deployment(**COMPLETE))


@pytest.mark.parametrize(
    "change",
    [
        {"observedGeneration": 1},
        {"updatedReplicas": 0},
        {"readyReplicas": 0},
        {"replicas": 2},
    ],
)
def test_a_rollout_is_not_complete_before(kubernetes: Kubernetes, change: dict[str, int]):
    assert not rollout_complete(kubernetes.deployment(**{**COMPLETE, **change}))


def test_a_model_with_no_replicas_is_complete_when_none_is_left(kubernetes: Kubernetes):
    assert rollout_complete(kubernetes.deployment(0))


REFUSALS = [
    (
        "plugin/pkg/admission/resourcequota",
        (
            'pods "x" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=1, '
            "used: "
            "requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4"
        ),
        Category.QUOTA,
        True,
    ),
    (
        "pod-security-admission",
        (
            'pods "x" is forbidden: violates PodSecurity "restricted:latest": '
            "allowPrivilegeEscalation != false"
        ),
        Category.POD_SECURITY,
        True,
    ),
    (
        "plugin/pkg/admission/runtimeclass",
        'pods "x" is forbidden: pod rejected: RuntimeClass "nvidia" not found',
        Category.RUNTIME_CLASS,
        True,
    ),
    (
        "plugin/pkg/admission/serviceaccount",
        (
            'pods "x" is forbidden: error looking up service account ns/sa: serviceaccount "sa" '
            "not "
            "found"
        ),
        Category.REFUSED,
        True,
    ),
    (
        "apiserver/pkg/admission/plugin/webhook",
        'Internal error occurred: failed calling webhook "x": context deadline exceeded',
        Category.REFUSED,
        False,
    ),
    (
        "plugin/pkg/admission/serviceaccount, while the namespace is new",
        (
            'pods "weights-any" is forbidden: error looking up service account vllm/default: '
            'serviceaccount "default" not found'
        ),
        Category.REFUSED,
        False,
    ),
]


@pytest.mark.parametrize(("_source", "message", "category", "definite"), REFUSALS)
def test_pods_that_the_cluster_refuses_to_create_are_a_definite_failure(
    kubernetes: Kubernetes,
    _source: str,
    message: str,
    category: Category,
    definite: bool,  # noqa: FBT001 -- a column of the table
):
    deployment = kubernetes.deployment(conditions=[kubernetes.refused(message)])
    diagnosis = diagnose(deployment, [])
    assert (diagnosis.category, diagnosis.definite) == (category, definite)
    assert diagnosis.detail == message


def test_a_refusal_of_the_template_before_no_longer_counts(kubernetes: Kubernetes):
    failure = kubernetes.refused("RuntimeClass x not found")
    before = kubernetes.deployment(observedGeneration=1, conditions=[failure])
    assert diagnose(before, []).category is Category.STARTING
    # The condition is also shown when an old ReplicaSet alone has it (getReplicaFailures).
    now = kubernetes.deployment(conditions=[failure])
    pod = kubernetes.with_container(state={"running": {}})
    assert diagnose(now, [pod]).category is Category.LOADING


def test_a_quota_that_pods_on_their_way_out_still_use_is_waited_for(kubernetes: Kubernetes):
    deployment = kubernetes.deployment(conditions=[kubernetes.refused("exceeded quota: gpus")])
    leaving = kubernetes.pod("old")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not diagnose(deployment, [leaving]).definite


def test_a_node_that_does_not_answer_is_told_by_its_condition_or_an_event(kubernetes: Kubernetes):
    """Its pods' containers stay ready in the status; Kubernetes takes Ready from the pod alone."""
    conditions = [{"type": "Ready", "status": "False"}]
    pod = kubernetes.pod(
        conditions=conditions,
        containers=[{"name": "vllm", "ready": True, "state": {"running": {}}}],
    )
    lost = Evidence(nodes={"gpu-node-1": kubernetes.node("gpu-node-1", ready="Unknown")})
    diagnosis = diagnose(kubernetes.deployment(), [pod], lost)
    assert (diagnosis.category, diagnosis.definite) == (Category.NODE_LOST, False)
    assert diagnosis.next_command == "kubectl describe node gpu-node-1"
    event = kubernetes.event("NodeNotReady", "Node is not ready")
    assert found(kubernetes, pod, event).category is Category.NODE_LOST
    well = Evidence(nodes={"gpu-node-1": kubernetes.node("gpu-node-1")})
    assert diagnose(kubernetes.deployment(), [pod], well).category is Category.LOADING


def evicted(kubernetes: Kubernetes, number: int) -> dict[str, Any]:
    """Return what the kubelet leaves of a pod (pkg/kubelet/eviction/helpers.go)."""
    message = (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. "
        "Container vllm was using 40Gi, request is 16Gi, has larger consumption of memory. "
    )
    return kubernetes.pod(f"gone-{number}", phase="Failed", reason="Evicted", message=message)


def test_an_eviction_is_told_and_the_third_is_definite(kubernetes: Kubernetes):
    deployment = kubernetes.deployment()
    one = diagnose(deployment, [evicted(kubernetes, 1)])
    assert (one.category, one.definite) == (Category.EVICTED, False)
    assert "The node was low on resource: memory" in one.detail
    three = [evicted(kubernetes, number) for number in range(3)]
    again = diagnose(deployment, [*three, kubernetes.with_container(state={"running": {}})])
    assert (again.category, again.definite) == (Category.EVICTED, True)


def test_an_eviction_stays_in_the_detail_while_the_next_pod_loads(kubernetes: Kubernetes):
    pods = [evicted(kubernetes, 1), kubernetes.with_container(state={"running": {}})]
    diagnosis = diagnose(kubernetes.deployment(), pods)
    assert diagnosis.category is Category.LOADING
    assert "Evicted" in diagnosis.detail


def test_a_definite_failure_of_one_replica_is_told_before_the_waiting_of_another(
    kubernetes: Kubernetes,
):
    crashed, waits = kubernetes.ended(2), kubernetes.unscheduled("", "other")
    assert diagnose(kubernetes.deployment(2), [waits, crashed]).pod == kubernetes.pod_name


def test_what_was_wrong_with_a_pod_of_the_template_before_no_longer_counts(kubernetes: Kubernetes):
    old = kubernetes.backing_off(2, 5)
    old["metadata"]["annotations"] = {"digest": "old"}
    assert diagnose(kubernetes.deployment(), [old]).category is Category.STARTING


def test_a_template_changed_by_hand_is_known_by_its_hash(kubernetes: Kubernetes):
    old, new = kubernetes.backing_off(2, 5), kubernetes.with_container(state={"running": {}})
    new["metadata"] |= {
        "name": "new",
        "labels": {"model": "q", "pod-template-hash": "55"},
        "creationTimestamp": "2026-01-02T00:00:00Z",
    }
    assert diagnose(kubernetes.deployment(), [old, new]).pod == "new"


def test_a_pod_on_its_way_out_is_no_reason(kubernetes: Kubernetes):
    leaving = kubernetes.ended(2)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert diagnose(kubernetes.deployment(), [leaving]).category is Category.STARTING


def test_an_init_container_that_is_over_is_no_crash(kubernetes: Kubernetes):
    pod = kubernetes.with_container(state={"running": {}})
    over = {"name": "init", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    pod["status"]["initContainerStatuses"] = [over]
    assert diagnose(kubernetes.deployment(), [pod]).category is Category.LOADING


def test_a_pod_that_simply_loads_is_asked_for_its_log_alone(kubernetes: Kubernetes):
    (question,) = questions(
        kubernetes.deployment(), [kubernetes.with_container(state={"running": {}})]
    )
    assert (question.events, question.nodes, question.urgent) == (False, False, False)
    assert (question.container, question.lines) == ("vllm", 20)


def test_nothing_is_asked_about_a_ready_pod_or_one_that_is_leaving(kubernetes: Kubernetes):
    ready = kubernetes.pod(conditions=[{"type": "Ready", "status": "True"}])
    leaving = kubernetes.ended(1)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert questions(kubernetes.deployment(), [ready, leaving]) == []
