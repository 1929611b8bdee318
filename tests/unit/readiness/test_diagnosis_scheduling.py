"""Messages of the scheduler: kubernetes/pkg/scheduler, and issues where people posted them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vllm_flows.diagnosis import Evidence, diagnose
from vllm_flows.diagnosis_categories import Category
from vllm_flows.diagnosis_crashes import PodEvidence
from vllm_flows.diagnosis_scheduling import Reason, reasons_of

if TYPE_CHECKING:
    from conftest import Kubernetes

TO_COME = "preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."

MESSAGES = [
    (
        "NVIDIA/k8s-device-plugin#430",
        (
            "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are "
            "available: 1 No preemption victims found for incoming pod.."
        ),
        Category.NO_FREE_GPU,
        "too little nvidia.com/gpu is free on the only node",
    ),
    (
        "pkg/scheduler 1.36, noderesources/fit.go",
        (
            f"0/4 nodes are available: 1 node(s) had untolerated taint(s), 3 Insufficient cpu, "
            f"3 Insufficient nvidia.com/gpu. {TO_COME}"
        ),
        Category.NO_FREE_GPU,
        (
            "too little nvidia.com/gpu is free on 3 of 4 nodes (1 node(s) had untolerated "
            "taint(s), "
            "3 Insufficient cpu)"
        ),
    ),
    (
        "NVIDIA MIG",
        "0/2 nodes are available: 2 Insufficient nvidia.com/mig-1g.10gb.",
        Category.NO_FREE_GPU,
        "too little nvidia.com/mig-1g.10gb is free on 2 of 2 nodes",
    ),
    (
        "pkg/scheduler 1.36, noderesources/fit.go",
        "0/2 nodes are available: 1 Too many pods, 2 Insufficient memory.",
        Category.NO_ROOM,
        "too little memory is free on 2 of 2 nodes",
    ),
    (
        "NVIDIA/k8s-device-plugin#421",
        (
            "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: }. preemption: 0/1 "
            "nodes "
            "are available: 1 Preemption is not helpful for scheduling.."
        ),
        Category.TAINT,
        "a taint keeps the pod off the only node",
    ),
    (
        "os-climate/os_c_data_commons#170, Kubernetes 1.20",
        (
            "0/13 nodes are available: 2 node(s) had taint {node-role.kubernetes.io/master: }, "
            "that "
            "the pod didn't tolerate, 3 node(s) didn't match Pod's node affinity/selector, 8 "
            "node(s) "
            "had taint {nvidia.com/gpu: }, that the pod didn't tolerate."
        ),
        Category.SELECTOR,
        "3 of 13 nodes lack the labels that the pod asks for",
    ),
    (
        "pkg/scheduler 1.36, nodeaffinity",
        (
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. no new "
            f"claims to deallocate, {TO_COME}"
        ),
        Category.SELECTOR,
        "2 of 2 nodes lack the labels that the pod asks for",
    ),
    (
        "pkg/scheduler 1.36, volumebinding/binder.go",
        (
            "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) didn't match "
            "PersistentVolume's node affinity."
        ),
        Category.CLAIM_ELSEWHERE,
        "the pod's volume is tied to another place than 2 of 3 nodes",
    ),
    (
        "pkg/scheduler 1.28, volumebinding/binder.go",
        (
            "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had volume node "
            "affinity conflict."
        ),
        Category.CLAIM_ELSEWHERE,
        "the pod's volume is tied to another place than 2 of 3 nodes",
    ),
    (
        "pkg/scheduler 1.36, volumebinding/volume_binding.go",
        (
            "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims. "
            "not found, preemption: 0/2 nodes are available: 2 Preemption is not helpful."
        ),
        Category.CLAIM_UNBOUND,
        "the pod's claim has no volume: pod has unbound immediate PersistentVolumeClaims",
    ),
    (
        "pkg/scheduler 1.36, volumebinding/volume_binding.go",
        '0/2 nodes are available: persistentvolumeclaim "weights-q" not found.',
        Category.CLAIM_UNBOUND,
        'the pod\'s claim has no volume: persistentvolumeclaim "weights-q" not found',
    ),
    (
        "a scheduler of somebody's own",
        "0/3 nodes are available: 3 NodeUnfitPod.",
        "unschedulable",
        "",
    ),
    ("before the scheduler looked", "", Category.UNSCHEDULABLE, "waiting for the scheduler"),
]


@pytest.mark.parametrize(("_source", "message", "category", "summary"), MESSAGES)
def test_a_message_is_told_by_the_nodes_that_came_nearest(
    kubernetes: Kubernetes,
    _source: str,
    message: str,
    category: Category,
    summary: str,
):
    found = diagnose(kubernetes.deployment(), [kubernetes.unscheduled(message)])
    assert found.category == category
    assert found.summary.startswith(summary)
    assert found.detail == message
    assert not found.definite


def test_a_reason_with_a_comma_stays_in_one_piece():
    message = (
        "0/5 nodes are available: 2 node(s) had taint {a: b}, that the pod didn't tolerate, "
        "3 Insufficient nvidia.com/gpu."
    )
    assert reasons_of(message) == (
        5,
        (
            Reason(2, "node(s) had taint {a: b}, that the pod didn't tolerate"),
            Reason(3, "Insufficient nvidia.com/gpu"),
        ),
    )


def test_only_the_first_sentence_is_about_nodes():
    """As Kubernetes 1.36 says it."""
    message = (
        "0/2 nodes are available: 2 Insufficient nvidia.com/gpu. no new claims to deallocate, "
        "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    )
    (reason,) = reasons_of(message)[1]
    assert (reason.count, reason.resource) == (2, "nvidia.com/gpu")


GPU = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."


def test_a_lack_of_room_settles_unless_room_may_come(kubernetes: Kubernetes):
    deployment, pod = kubernetes.deployment(), kubernetes.unscheduled(GPU)
    assert diagnose(deployment, [pod]).settles_after == 20
    assert diagnose(deployment, [pod], autoscaling=True).settles_after is None
    assert diagnose(deployment, [pod], Evidence(ending=True)).settles_after is None
    pod["status"]["nominatedNodeName"] = "gpu-node-1"
    assert diagnose(deployment, [pod]).settles_after is None


def test_a_pod_of_the_old_template_on_its_way_out_frees_its_gpus(kubernetes: Kubernetes):
    old = kubernetes.pod("old")
    old["metadata"] |= {"annotations": {"digest": "old"}, "deletionTimestamp": "2026-01-01"}
    found = diagnose(kubernetes.deployment(), [kubernetes.unscheduled(GPU), old])
    assert (found.category, found.settles_after) == (Category.NO_FREE_GPU, None)


@pytest.mark.parametrize(
    ("message", "settles"),
    [
        ("0/2 nodes are available: 2 node(s) had untolerated taint {gpu: }.", 20.0),
        (
            (
                "0/2 nodes are available: 2 node(s) had untolerated taint "
                "{node.kubernetes.io/disk-pressure: }."
            ),
            None,
        ),
        ("0/2 nodes are available: 2 node(s) were unschedulable.", None),
        ("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", 20.0),
        ("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.", None),
        ('0/2 nodes are available: persistentvolumeclaim "x" not found.', 20.0),
    ],
)
def test_what_passes_by_itself_does_not_settle(
    kubernetes: Kubernetes, message: str, settles: float | None
):
    found = diagnose(kubernetes.deployment(), [kubernetes.unscheduled(message)])
    assert found.settles_after == settles


def nodes(*found: dict[str, object]) -> Evidence:
    return Evidence(nodes={str(index): node for index, node in enumerate(found)})


def test_where_nodes_may_be_read_a_taint_is_named(kubernetes: Kubernetes):
    """Kubernetes 1.36 says "untolerated taint(s)" and not which."""
    message = "0/1 nodes are available: 1 node(s) had untolerated taint(s)."
    known = nodes(kubernetes.node("a", taint="team"))
    found = diagnose(kubernetes.deployment(), [kubernetes.unscheduled(message)], known)
    assert found.summary == "a taint keeps the pod off the only node (team:NoSchedule)"
    passing = nodes(kubernetes.node("a", taint="node.kubernetes.io/not-ready"))
    found = diagnose(kubernetes.deployment(), [kubernetes.unscheduled(message)], passing)
    assert found.settles_after is None


STARTING = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/network-unavailable",
    "node.cloudprovider.kubernetes.io/uninitialized",
    "node.cluster.x-k8s.io/uninitialized",
    "karpenter.sh/unregistered",
    "cni.istio.io/not-ready",
    "node.cilium.io/agent-not-ready",
    "ebs.csi.aws.com/agent-not-ready",
    "efs.csi.aws.com/agent-not-ready",
    "startup-taint.cluster-autoscaler.kubernetes.io/gpu-driver",
    "readiness.k8s.io/GPUReady",
]
UNNAMED = "0/2 nodes are available: 2 node(s) had untolerated taint(s)."


@pytest.mark.parametrize("taint", STARTING)
def test_a_node_that_comes_up_is_waited_for(kubernetes: Kubernetes, taint: str):
    """The taint stands in the message of older schedulers, and on the node."""
    deployment = kubernetes.deployment()
    for value in ("", "true"):
        named = f"0/2 nodes are available: 2 node(s) had untolerated taint {{{taint}: {value}}}."
        found = diagnose(deployment, [kubernetes.unscheduled(named)])
        assert (found.category, found.settles_after) == (Category.TAINT, None)
    coming = nodes(kubernetes.node("a", taint="team"), kubernetes.node("b", taint=taint))
    found = diagnose(deployment, [kubernetes.unscheduled(UNNAMED)], coming)
    assert (found.category, found.settles_after) == (Category.TAINT, None)


@pytest.mark.parametrize(
    "reason",
    [
        "1 Insufficient nvidia.com/gpu",
        "1 Insufficient memory",
        "1 node(s) didn't match Pod's node affinity/selector",
    ],
)
def test_a_node_that_comes_up_may_have_what_the_others_lack(kubernetes: Kubernetes, reason: str):
    """Its GPUs and their labels are only there once its drivers run."""
    message = f"0/2 nodes are available: {reason}, 1 node(s) had untolerated taint(s)."
    pod = kubernetes.unscheduled(message)
    for taint, settles in (("node.cilium.io/agent-not-ready", None), ("team", 20.0)):
        known = nodes(kubernetes.node("a"), kubernetes.node("b", gpus=0, taint=taint))
        assert diagnose(kubernetes.deployment(), [pod], known).settles_after == settles


@pytest.mark.parametrize("taint", ["team", "nvidia.com/gpu", "node-role.kubernetes.io/master"])
def test_a_taint_of_the_clusters_owners_settles(kubernetes: Kubernetes, taint: str):
    known = nodes(kubernetes.node("a", taint=taint), kubernetes.node("b", taint=taint))
    found = diagnose(kubernetes.deployment(), [kubernetes.unscheduled(UNNAMED)], known)
    assert (found.category, found.settles_after) == (Category.TAINT, 20)


def test_taints_that_nobody_names_do_not_settle(kubernetes: Kubernetes):
    """Nodes may not be read, and a taint that passes would look the same."""
    found = diagnose(kubernetes.deployment(), [kubernetes.unscheduled(UNNAMED)])
    assert (found.category, found.settles_after) == (Category.TAINT, None)


def at(moment: str, event: dict[str, object], component: str = "cluster-autoscaler") -> object:
    return event | {"lastTimestamp": moment, "source": {"component": component}}


def test_an_autoscaler_that_adds_a_node_for_the_pod_is_waited_for(kubernetes: Kubernetes):
    """Events of cluster-autoscaler (FAQ) and of karpenter/pkg/events and provisioning."""
    added = kubernetes.event("TriggeredScaleUp", "pod triggered scale-up: [{gpus 0->1 (max: 4)}]")
    refused = kubernetes.event("NotTriggerScaleUp", "pod didn't trigger scale-up: 1 in backoff")
    nominated = kubernetes.event("Nominated", "Pod should schedule on: nodeclaim/gpu-x7r2p")
    failed = kubernetes.event("FailedScheduling", "Failed to schedule pod, no instance type")
    early, late = "2026-01-01T10:00:00Z", "2026-01-01T10:05:00Z"
    for events, settles in (
        ([at(early, added)], None),
        ([at(late, refused), at(early, added)], 20),
        ([at(early, refused), at(late, added)], None),
        ([at(early, nominated, "karpenter")], None),
        ([at(early, nominated, "karpenter"), at(late, failed, "karpenter")], 20),
        ([at(early, nominated, "karpenter"), at(late, failed, "default-scheduler")], None),
        ([at(early, failed, "default-scheduler")], 20),
    ):
        evidence = Evidence(pods={kubernetes.pod_name: PodEvidence(events=events)})
        found = diagnose(kubernetes.deployment(), [kubernetes.unscheduled(GPU)], evidence)
        assert (found.category, found.settles_after) == (Category.NO_FREE_GPU, settles)
        assert ("an autoscaler makes room" in found.summary) == (settles is None)


def test_nodes_without_gpus_do_not_hide_that_those_with_gpus_are_tainted(kubernetes: Kubernetes):
    message = (
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), "
        "2 Insufficient nvidia.com/gpu."
    )
    pod = kubernetes.unscheduled(message)
    known = nodes(
        kubernetes.node("a", gpus=0), kubernetes.node("b", gpus=0), kubernetes.node("c", taint="x")
    )
    found = diagnose(kubernetes.deployment(), [pod], known)
    assert (found.category, found.summary) == (
        Category.TAINT,
        "a taint keeps the pod off 1 of 3 nodes (x:NoSchedule)",
    )
    none = nodes(kubernetes.node("a", gpus=0))
    found = diagnose(kubernetes.deployment(), [pod], none)
    assert found.summary == "no node has nvidia.com/gpu: is its device plugin running?"


def test_the_claim_that_the_message_names_is_the_one_to_look_at(kubernetes: Kubernetes):
    message = '0/2 nodes are available: persistentvolumeclaim "other" not found.'
    found = diagnose(kubernetes.deployment(), [kubernetes.unscheduled(message)])
    assert found.next_command == "kubectl -n ns describe pvc other"
