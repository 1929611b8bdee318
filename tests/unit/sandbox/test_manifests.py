from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pytest

from sandbox import manifests
from sandbox.binaries import PROGRAMS
from sandbox.state import Ports, SandboxState

STATE = SandboxState(
    directory=Path("/state/try"),
    identifier="0123",
    ports=Ports(21, 22, 23, 24, 25, 26, 27, 28, 29),
    hub_token="token",
    programs={name: f"/programs/{name}" for name in PROGRAMS},
)


def by_kind(kind: str, *, cpu_node: bool = False) -> list[manifests.Manifest]:
    return [each for each in manifests.cluster_objects(cpu_node=cpu_node) if each["kind"] == kind]


def test_there_are_two_nodes_of_eight_gpus() -> None:
    nodes = by_kind("Node")
    assert [node["metadata"]["name"] for node in nodes] == ["gpu-node-1", "gpu-node-2"]
    assert all(node["status"]["allocatable"]["nvidia.com/gpu"] == "8" for node in nodes)


def test_a_node_without_gpus_comes_only_when_asked_for() -> None:
    node = by_kind("Node", cpu_node=True)[2]
    assert node["metadata"]["name"] == "cpu-node-1"
    assert "nvidia.com/gpu" not in node["status"]["allocatable"]
    assert not any(label.startswith("nvidia.com") for label in node["metadata"]["labels"])


def test_every_node_is_one_that_kwok_keeps() -> None:
    for node in by_kind("Node", cpu_node=True):
        assert node["metadata"]["annotations"] == {"kwok.x-k8s.io/node": "fake"}


@pytest.mark.parametrize("label", ["nvidia.com/gpu.product", "nvidia.com/gpu.memory"])
def test_gpu_nodes_say_which_gpus_they_claim(label: str) -> None:
    assert all(label in node["metadata"]["labels"] for node in by_kind("Node"))


def test_kwok_gets_stages_for_nodes_alone() -> None:
    stages = [each for each in manifests.kwokctl_configuration(STATE) if each["kind"] == "Stage"]
    assert {stage["spec"]["resourceRef"]["kind"] for stage in stages} == {"Node"}


def test_every_component_listens_on_the_sandboxs_own_ports_of_127_0_0_1() -> None:
    options = manifests.kwokctl_configuration(STATE)[0]["options"]
    used = {value for key, value in options.items() if key.endswith("Port") and key != "securePort"}
    others = {STATE.ports.hub, STATE.ports.prefect, STATE.ports.vault}
    assert used == set(astuple(STATE.ports)) - others
    assert options["bindAddress"] == "127.0.0.1"


def test_what_controls_the_cluster_outlives_an_api_server_that_is_away() -> None:
    patches = manifests.kwokctl_configuration(STATE)[0]["componentsPatches"]
    given = {one["name"]: {arg["key"]: arg["value"] for arg in one["extraArgs"]} for one in patches}
    for name in ("kube-controller-manager", "kube-scheduler"):
        assert given[name]["leader-elect"] == "false"


def test_no_component_is_left_for_kwokctl_to_download() -> None:
    options = manifests.kwokctl_configuration(STATE)[0]["options"]
    given = {Path(value).name for key, value in options.items() if key.endswith("Binary")}
    assert given == set(PROGRAMS) - {"kwokctl", "helm"}


def test_the_default_storage_class_binds_when_a_pod_comes_and_can_grow() -> None:
    (storage,) = by_kind("StorageClass")
    assert storage["provisioner"] == manifests.STORAGE_PROVISIONER
    assert storage["volumeBindingMode"] == "WaitForFirstConsumer"
    assert storage["allowVolumeExpansion"] is True
    assert "true" in storage["metadata"]["annotations"].values()
