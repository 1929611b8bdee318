"""What changes for all engines at once: the chart, or what they have in common. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_flows.desired import Desired
from vllm_flows.differences import entries
from vllm_flows.observed import ClusterState
from vllm_flows.release_rules import chart_changes
from vllm_flows.waves import shares_alike


def change_together(desired: Desired, state: ClusterState) -> bool:
    """Say whether the engines that run can only change all at once."""
    before = state.release.values
    alike = shares_alike(before, desired.values) and not chart_change(desired, state)
    return bool(entries(before)) and not alike


def chart_change(desired: Desired, state: ClusterState) -> str:
    """Say how the chart changes; empty when it does not."""
    if not chart_changes(state.release, desired.chart.version):
        return ""
    return f"chart {state.release.chart_version} -> {desired.chart.version}"


def made_anew(replaced: Sequence[str]) -> list[str]:
    """Say what it means that Deployments are made anew."""
    text = (
        f"{len(replaced)} Deployments are made anew, as by this chart they select other pods, and "
        f"Kubernetes does not let them change that: {', '.join(replaced)}. What runs is handed "
        "over to the new ones and serves until it is replaced"
    )
    return [text] if replaced else []
