"""What changes for all engines at once: the chart, the API key, what they share. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_flows.desired import Desired
from vllm_flows.differences import entries
from vllm_flows.observed import API_KEY_ANNOTATION, ClusterState
from vllm_flows.release_rules import chart_changes
from vllm_flows.waves import shares_alike


def change_together(desired: Desired, state: ClusterState) -> bool:
    """Say whether the engines that run can only change all at once."""
    before = state.release.values
    alike = shares_alike(before, desired.values) and not key_changes(desired, state)
    return bool(entries(before)) and not (alike and not chart_change(desired, state))


def key_changes(desired: Desired, state: ClusterState) -> bool:
    """Say whether models that run get another API key, or one where they had none, or lose theirs.

    The router has the new one from its restart on, and then no use for engines with the old one.
    """
    before, after = entries(state.release.values), entries(desired.values)
    return any(_key(before[name]) != _key(after[name]) for name in before.keys() & after.keys())


def _key(entry: Mapping[str, Any]) -> object:
    return (entry.get("podAnnotations") or {}).get(API_KEY_ANNOTATION)


def new_key(desired: Desired, state: ClusterState) -> list[str]:
    """Say what a change of the API key means for those who ask."""
    text = (
        "the API key changes for the router and all engines at once: once the router has it, a "
        "model answers nobody until its new replicas are ready, also where the old ones still run"
    )
    return [text] if key_changes(desired, state) else []


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
