"""The NVIDIA device plugin: what shows Kubernetes a node's GPUs. Pure.

Facts of its chart (0.14 to 0.19): its pods go to nodes with the label `nvidia.com/gpu.present` or
one of node feature discovery's; `gfd.enabled` brings feature discovery, and with it that label and
those that tell a GPU's product and memory; `runtimeClassName` is wanted where the `nvidia` runtime
is not the default one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.chart import Chart, located
from vllm_flows.going_back import Past
from vllm_flows.nodes import GPU, GPU_PRODUCT
from vllm_flows.observed import MANAGED_BY
from vllm_flows.settings import Settings

Object = Mapping[str, Any]

PLUGIN = "nvidia-device-plugin"
"""The name of its Helm release."""
_HANDLER = "nvidia"
"""What the NVIDIA container toolkit calls its runtime on the nodes."""
_DISCOVERED = "feature.node.kubernetes.io/"
"""Begins the labels that node feature discovery sets."""


@dataclass(frozen=True)
class GpuNode:
    """A node, the GPUs that it offers (0: none that Kubernetes knows of), and what they are."""

    name: str
    gpus: int
    product: str = ""
    discovered: bool = False


@dataclass(frozen=True)
class PluginState:
    """What there is: nodes, the plugin's own release, the RuntimeClass of that name."""

    nodes: tuple[GpuNode, ...]
    release: Past | None
    runtime_class: str
    has_runtime_class: bool

    @property
    def offering(self) -> list[GpuNode]:
        """The nodes that offer GPUs."""
        return [node for node in self.nodes if node.gpus]

    @property
    def somebody_elses(self) -> bool:
        """Say whether nodes offer GPUs by a plugin that is not this release."""
        return bool(self.offering) and self.release is None

    def lines(self) -> list[str]:
        """Say what there is."""
        offering = ", ".join(f"{node.name} ({node.gpus})" for node in self.offering)
        release = "none"
        if self.release:
            release = f"{self.release.status}, chart {self.release.chart_version}"
        lines = [f"nodes that offer {GPU}: {offering or 'none'}", f"release {PLUGIN}: {release}"]
        if self.runtime_class:
            there = "there" if self.has_runtime_class else "missing"
            lines.append(f"RuntimeClass {self.runtime_class}: {there}")
        return lines


def plugin_chart(settings: Settings) -> Chart:
    """Return where the chart is. Raises ConfigurationError for a folder without one."""
    reference = settings.device_plugin_chart
    plain = "/" not in reference and not reference.startswith((".", "~"))
    repository = settings.device_plugin_repository if plain else ""
    return located(reference, settings.device_plugin_version, repository)


def plugin_values(state: PluginState, *, makes_runtime_class: bool) -> dict[str, Any]:
    """Return the values of the chart."""
    values: dict[str, Any] = {"gfd": {"enabled": True}}
    if any(node.discovered for node in state.nodes):
        values["nfd"] = {"enabled": False}  # a second one beside it would fight for the labels
    if state.runtime_class and (state.has_runtime_class or makes_runtime_class):
        values["runtimeClassName"] = state.runtime_class
    return values


def is_up_to_date(state: PluginState, chart: Chart, values: Mapping[str, Any]) -> bool:
    """Say whether the release is just as it would be made."""
    there = state.release
    return there is not None and (there.status, there.chart_version, there.values) == (
        "deployed",
        chart.version,
        values,
    )


def gpu_nodes(nodes: Iterable[Object]) -> tuple[GpuNode, ...]:
    """Read the nodes, in the order of their names."""
    found = [_gpu_node(node) for node in nodes]
    return tuple(sorted(found, key=lambda node: node.name))


def _gpu_node(node: Object) -> GpuNode:
    labels = node["metadata"].get("labels") or {}
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return GpuNode(
        name=node["metadata"]["name"],
        gpus=int(allocatable.get(GPU, 0)),
        product=labels.get(GPU_PRODUCT, ""),
        discovered=any(label.startswith(_DISCOVERED) for label in labels),
    )


def node_rows(nodes: Iterable[GpuNode]) -> list[dict[str, Any]]:
    """Return a row for each node."""
    return [{"node": node.name, "gpus": node.gpus, "product": node.product} for node in nodes]


def plugin_namespace(name: str) -> dict[str, Any]:
    """Return the plugin's namespace: its pods mount folders of the node, which others may not."""
    labels = {"pod-security.kubernetes.io/enforce": "privileged", **MANAGED_BY}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def runtime_class(name: str) -> dict[str, Any]:
    """Return the RuntimeClass by which pods get the NVIDIA runtime."""
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": name, "labels": dict(MANAGED_BY)},
        "handler": _HANDLER,
    }
