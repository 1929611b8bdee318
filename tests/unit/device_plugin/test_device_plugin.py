"""What is installed so that nodes offer their GPUs, and when nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import device_plugin as tasks
from tests.support import VirtualClock
from vllm_flows.chart import Chart
from vllm_flows.device_plugin import (
    PluginState,
    gpu_nodes,
    is_up_to_date,
    node_rows,
    plugin_chart,
    plugin_namespace,
    plugin_values,
    runtime_class,
)
from vllm_flows.errors import ConfigurationError, NoRightError, ReleaseError, TimedOutError
from vllm_flows.going_back import Past
from vllm_flows.looking_at_plugin import look_at_plugin
from vllm_flows.settings import load_settings

CHART = Chart("nvidia-device-plugin", (), "0.19.1")


def node(name: str, gpus: str | None = None, **labels: str) -> dict[str, Any]:
    allocatable = {"cpu": "8"} | ({"nvidia.com/gpu": gpus} if gpus else {})
    found = {key.replace("__", "/").replace("_", "."): value for key, value in labels.items()}
    return {
        "metadata": {"name": name, "labels": found},
        "status": {"allocatable": allocatable},
    }


def state(*nodes: dict[str, Any], release: Past | None = None, there: bool = True) -> PluginState:
    return PluginState(gpu_nodes(nodes), release, "nvidia", there)


def test_nodes_tell_how_many_gpus_they_offer_and_what_these_are():
    found = gpu_nodes(
        [node("b"), node("a", "8", nvidia_com__gpu_product="A100"), {"metadata": {"name": "c"}}]
    )
    assert node_rows(found) == [
        {"node": "a", "gpus": 8, "product": "A100"},
        {"node": "b", "gpus": 0, "product": ""},
        {"node": "c", "gpus": 0, "product": ""},
    ]


def test_nodes_that_offer_gpus_without_this_release_do_so_by_somebody_elses_plugin():
    ours = Past(1, "0.19.1", {}, "deployed")
    assert state(node("a", "8")).somebody_elses
    assert not state(node("a")).somebody_elses
    assert not state(node("a", "8"), release=ours).somebody_elses


def test_what_is_there_is_told():
    ours = Past(1, "0.18.2", {}, "failed")
    assert state(node("a", "8"), release=ours, there=False).lines() == [
        "nodes that offer nvidia.com/gpu: a (8)",
        "release nvidia-device-plugin: failed, chart 0.18.2",
        "RuntimeClass nvidia: missing",
    ]
    default = replace(state(), runtime_class="")
    assert default.lines() == [
        "nodes that offer nvidia.com/gpu: none",
        "release nvidia-device-plugin: none",
    ]


def test_the_plugin_runs_by_the_runtime_class_where_there_is_one():
    name = "runtimeClassName"
    assert plugin_values(state(), makes_runtime_class=False)[name] == "nvidia"
    assert plugin_values(state(there=False), makes_runtime_class=True)[name] == "nvidia"
    assert name not in plugin_values(state(there=False), makes_runtime_class=False)
    default = replace(state(), runtime_class="")
    assert name not in plugin_values(default, makes_runtime_class=False)


def test_feature_discovery_that_is_there_is_not_brought_a_second_time():
    found = node("a", feature_node_kubernetes_io__pci="true")
    assert plugin_values(state(found), makes_runtime_class=False)["nfd"] == {"enabled": False}
    assert "nfd" not in plugin_values(state(node("a")), makes_runtime_class=False)


def test_a_release_that_is_as_it_would_be_made_is_left_alone():
    values = plugin_values(state(), makes_runtime_class=False)
    same = Past(1, "0.19.1", values, "deployed")
    assert is_up_to_date(state(release=same), CHART, values)
    for other in ({"status": "failed"}, {"chart_version": "0.18.2"}, {"values": {}}):
        assert not is_up_to_date(state(release=replace(same, **other)), CHART, values)
    assert not is_up_to_date(state(), CHART, values)


def test_the_chart_comes_from_nvidias_repository_unless_another_place_is_named(tmp_path: Path):
    chart = plugin_chart(load_settings())
    assert chart.arguments[:2] == ("--repo", "https://nvidia.github.io/k8s-device-plugin")
    oci = plugin_chart(load_settings(device_plugin_chart="oci://mirror/charts/plugin"))
    assert oci.arguments == ("--version", "0.19.1")
    (tmp_path / "Chart.yaml").write_text("version: 1.2.3\n")
    assert plugin_chart(load_settings(device_plugin_chart=str(tmp_path))).version == "1.2.3"
    with pytest.raises(ConfigurationError, match="no chart in"):
        plugin_chart(load_settings(device_plugin_chart="./missing"))


def test_pods_of_the_plugin_may_mount_folders_of_the_node():
    labels = plugin_namespace("gpus")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    assert runtime_class("nvidia")["handler"] == "nvidia"


def waiting(monkeypatch: pytest.MonkeyPatch, *looks: list[dict[str, Any]]) -> list[str]:
    """Wait for GPUs while nodes are as in one look after the other; return what was said."""
    said: list[str] = []
    monkeypatch.setattr(tasks, "say", said.append)
    left = list(looks)

    def find(kind: str) -> list[dict[str, Any]]:
        if kind == "Pod":
            return []
        return left.pop(0) if len(left) > 1 else left[0]

    session = SimpleNamespace(
        cluster=SimpleNamespace(find=find),
        settings=SimpleNamespace(namespace="gpus"),
        clock=VirtualClock(),
    )
    tasks.wait_for_gpus.fn(session, 60.0)
    return said


def test_it_waits_until_a_node_offers_gpus(monkeypatch: pytest.MonkeyPatch):
    said = waiting(monkeypatch, [node("a")], [node("a", "4")])
    assert "no node offers nvidia.com/gpu yet" in said[0]
    assert said[-1] == "a offers 4 nvidia.com/gpu"


def test_nodes_that_never_offer_gpus_end_the_wait_with_what_to_look_at(
    monkeypatch: pytest.MonkeyPatch,
):
    with pytest.raises(TimedOutError, match="no node offers") as late:
        waiting(monkeypatch, [node("a")])
    assert "nvidia.com/gpu.present=true" in late.value.why
    assert "kubectl -n gpus get pods" in late.value.next_command


def looking(why: str) -> None:
    """Look while helm fails so."""

    def pasts() -> Iterator[Past]:
        raise ReleaseError("helm failed", why=why, next_command="helm history")
        yield

    session: Any = SimpleNamespace(
        cluster=SimpleNamespace(find=lambda _: [node("a")], get=lambda *_: None),
        helm=SimpleNamespace(pasts=pasts),
        settings=SimpleNamespace(namespace="gpus", runtime_class=""),
    )
    look_at_plugin(session)


def test_who_may_not_read_helms_secrets_there_is_told_that():
    with pytest.raises(NoRightError, match="list and get Secrets in namespace gpus") as caught:
        looking('list: secrets is forbidden: User "jane" cannot list resource "secrets"')
    assert "helm history" not in caught.value.next_command
    with pytest.raises(ReleaseError, match="helm failed"):
        looking("Kubernetes cluster unreachable")
