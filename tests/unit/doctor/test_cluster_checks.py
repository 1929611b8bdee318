"""Judging what a cluster has and lacks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from vllm_flows import doctor_cluster as doctor
from vllm_flows.doctor_findings import State
from vllm_flows.errors import ReleaseError
from vllm_flows.lease_rules import Held
from vllm_flows.nodes import Node, nodes_of
from vllm_flows.observed import Release, ReleaseState
from vllm_flows.secret_mode import Store
from vllm_flows.settings import Settings

A100 = {"nvidia.com/gpu.product": "A100", "nvidia.com/gpu.memory": "81920"}


def node(name: str, gpus: str | None = None, labels: dict[str, str] | None = None, **spec: Any):
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": spec,
        "status": {"allocatable": {"cpu": "8"} | ({"nvidia.com/gpu": gpus} if gpus else {})},
    }


def pod(on: str, gpus: str) -> dict[str, Any]:
    container = {"name": "c", "resources": {"limits": {"nvidia.com/gpu": gpus}}}
    return {"spec": {"nodeName": on, "containers": [container]}}


def gpus(
    *nodes: Any, pods: tuple[Any, ...] = (), free_known: bool = True, autoscaling: bool = False
):
    found = nodes_of(nodes, pods)
    return doctor.judge_gpus(found, free_known=free_known, autoscaling=autoscaling)


def test_gpus_are_counted_with_what_is_free_and_what_they_are():
    found = gpus(node("a", "8", A100), node("b", "4"), node("c"), pods=(pod("a", "3"),))
    assert found.state is State.OK
    assert found.found.startswith(
        "12 on 2 of 3 nodes, 9 free: 8 x A100 (85.9 GB each), 4 x unnamed"
    )


def test_who_may_not_see_pods_is_not_told_that_all_gpus_are_free():
    assert "unknown how many are free" in gpus(node("a", "8"), free_known=False).found


def test_gpus_of_closed_nodes_are_not_free_and_a_problem_when_there_are_no_others():
    closed = node("a", "8", unschedulable=True)
    found = gpus(closed, node("b", "8"))
    assert (found.state, "8 free" in found.found) == (State.OK, True)
    assert "closed: a" in found.found
    assert gpus(closed).state is State.PROBLEM


def test_the_taint_of_gpu_nodes_closes_none():
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    assert "8 free" in gpus(node("a", "8", taints=[taint])).found


def test_no_gpus_are_a_problem_unless_nodes_come_by_themselves():
    assert gpus(node("a")).state is State.PROBLEM
    assert gpus().state is State.PROBLEM
    assert gpus(node("a"), autoscaling=True).state is State.OK


@pytest.mark.parametrize(
    "label",
    [
        "nvidia.com/gpu.present",
        "feature.node.kubernetes.io/pci-10de.present",
        "feature.node.kubernetes.io/pci-0302_10de.present",
        "feature.node.kubernetes.io/pci-0300_10de_sriov.present",
        "cloud.google.com/gke-accelerator",
    ],
)
def test_a_labelled_node_that_offers_no_gpu_lacks_the_device_plugin(label: str):
    found = doctor.judge_device_plugin(nodes_of([node("a", None, {label: "true"})], []))
    assert found.state is State.PROBLEM
    assert found.fix == doctor.INSTALL_PLUGIN


def plugin(*nodes: Any):
    found: tuple[Node, ...] = nodes_of(nodes, [])
    return doctor.judge_device_plugin(found)


def test_nodes_without_nvidia_hardware_need_no_device_plugin():
    sound = "feature.node.kubernetes.io/pci-0403_10de.present"
    amd = "feature.node.kubernetes.io/pci-0300_1002.present"
    assert plugin(node("a"), node("b", None, {sound: "true", amd: "true"})).state is State.OK


def test_one_silent_node_among_others_is_a_warning():
    found = plugin(node("a", "8", A100), node("b", None, A100))
    assert found.state is State.WARNING
    assert found.found.startswith("b: ")


def test_parts_of_gpus_count_as_offered():
    mig = node("a", None, A100)
    mig["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = "7"
    assert plugin(mig).state is State.OK


def test_a_plugin_that_finds_no_healthy_gpu_need_not_be_installed_again():
    found = plugin(node("a", "0", A100))
    assert found.state is State.PROBLEM
    assert found.fix == "kubectl describe node a"


def test_the_runtime_class_of_the_settings_has_to_be_there():
    assert doctor.judge_runtime_class("nvidia", {"handler": "nvidia"}).state is State.OK
    assert doctor.judge_runtime_class("nvidia", None).state is State.PROBLEM
    assert doctor.judge_runtime_class("", None).state is State.OK


def storage_class(name: str, *, default: bool = False, **fields: Any) -> dict[str, Any]:
    key = "storageclass.kubernetes.io/is-default-class"
    made = {
        "metadata": {"name": name, "annotations": {key: str(default).lower()}},
        "provisioner": "example.com/csi",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    return {**made, **fields}


WIDE = {"storage_access_mode": "ReadWriteMany"}


@pytest.mark.parametrize(
    ("classes", "settings", "state", "found"),
    [
        ([storage_class("a", default=True)], {}, State.OK, "a (default): example.com/csi"),
        ([storage_class("a")], {"storage_class": "a"}, State.OK, "a: example.com/csi"),
        ([storage_class("a")], {}, State.PROBLEM, "none is the default"),
        ([storage_class("a")], {"storage_class": "b"}, State.PROBLEM, "there is no b"),
        ([], {}, State.PROBLEM, "the cluster has none"),
        (
            [storage_class("a", default=True, volumeBindingMode="Immediate")],
            {},
            State.WARNING,
            "a (default): example.com/csi, Immediate, volumes cannot grow; a volume may",
        ),
        (
            [storage_class("a", default=True, provisioner="ebs.csi.aws.com")],
            WIDE,
            State.PROBLEM,
            "a (default): ebs.csi.aws.com",
        ),
        (
            [storage_class("a", default=True, volumeBindingMode="Immediate")],
            WIDE,
            State.OK,
            "a (default)",
        ),
        (
            [storage_class("a", default=True, allowVolumeExpansion=True)],
            {},
            State.OK,
            "a (default): example.com/csi, WaitForFirstConsumer, volumes grow",
        ),
    ],
)
def test_the_storage_class_is_judged_by_what_weights_need(
    classes: list[dict[str, Any]], settings: dict[str, Any], state: State, found: str
):
    finding = doctor.judge_storage(classes, Settings(**settings))
    assert finding.state is state
    assert finding.found.startswith(found)
    assert bool(finding.fix) == (state is not State.OK)


def test_a_namespace_is_there_or_can_be_made():
    there = {"metadata": {"name": "vllm"}}
    leaving = {"metadata": {"name": "vllm", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert doctor.judge_namespace("vllm", there, may_make=False).state is State.OK
    assert doctor.judge_namespace("vllm", None, may_make=True).state is State.OK
    assert doctor.judge_namespace("vllm", None, may_make=False).state is State.PROBLEM
    assert doctor.judge_namespace("vllm", leaving, may_make=True).state is State.PROBLEM


@pytest.mark.parametrize(
    ("version", "store", "state", "found"),
    [
        ("", None, State.OK, "no External Secrets Operator"),
        ("v1", None, State.OK, "serves v1; there is no ClusterSecretStore vault"),
        (
            "v1",
            {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            State.OK,
            "ready",
        ),
        ("v1", {}, State.WARNING, "vault is not ready: it says nothing"),
        (
            "v1",
            {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "Sealed"}]}},
            State.WARNING,
            "vault is not ready: Sealed",
        ),
    ],
)
def test_external_secrets_are_told_of_and_never_a_problem(
    version: str, store: Any, state: State, found: str
):
    finding = doctor.judge_external_secrets(version, Store.of("vault", store))
    assert finding.state is state
    assert found in finding.found


@pytest.mark.parametrize("state", ReleaseState)
def test_only_somebody_elses_release_is_a_problem(state: ReleaseState):
    expected = {
        ReleaseState.ABSENT: State.OK,
        ReleaseState.DEPLOYED: State.OK,
        ReleaseState.UNMANAGED: State.PROBLEM,
    }
    release = Release(state, revision=3, chart_version="0.1.8")
    assert doctor.judge_release(release).state is expected.get(state, State.WARNING)


def test_who_may_not_list_secrets_knows_nothing_of_the_release():
    denied = ReleaseError("helm failed", why='secrets is forbidden: User "jane" cannot list')
    assert doctor.release_unread(denied).state is State.UNKNOWN
    assert doctor.release_unread(ReleaseError("helm failed")).state is State.PROBLEM


def test_a_lock_that_is_held_is_told_with_its_holder():
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert doctor.judge_lock(None, "vllm", now).found == "free"
    held = doctor.judge_lock(Held("install by jane", now, 2.0, 30.0), "vllm", now)
    assert held.state is State.WARNING
    assert "install by jane" in held.found


def test_a_cluster_that_does_not_answer_in_time_is_a_problem():
    found = doctor.judge_unreached(TimeoutError("no complete answer within 6 s"))
    assert (found.state, found.fix) == (State.PROBLEM, "kubectl cluster-info")
