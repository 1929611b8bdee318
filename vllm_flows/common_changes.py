"""What changes for all engines at once: the chart, the API key, what they share. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from vllm_flows.desired import Desired
from vllm_flows.differences import entries
from vllm_flows.observed import ClusterState
from vllm_flows.release_rules import chart_changes
from vllm_flows.waves import key_mark, router_lags, shares_alike


def change_together(desired: Desired, state: ClusterState) -> bool:
    """Say whether the engines that run can only change all at once."""
    before = state.release.values
    alike = shares_alike(before, desired.values) and not key_changes(desired, state)
    return bool(entries(before)) and not (alike and not chart_change(desired, state))


def key_changes(desired: Desired, state: ClusterState) -> bool:
    """Say whether models that run get another API key, or one where they had none, or lose theirs.

    The router has no use for engines that hold another key than itself (production-stack 0.1.12).
    """
    before, after = entries(state.release.values), entries(desired.values)
    return any(
        key_mark(before[name]) != key_mark(after[name]) for name in before.keys() & after.keys()
    )


def new_key(desired: Desired, state: ClusterState) -> list[str]:
    """Say what a change of the API key means for those who ask."""
    if not key_changes(desired, state):
        return []
    if not any(key_mark(entry) for entry in entries(desired.values).values()):
        return ["the API key goes: a model wants none once its new replicas are ready"]
    if not desired.settings.router_enabled:
        return ["the API key changes: a model takes the new one, alone, once its replicas are new"]
    first = "the API key changes: models take the old one"
    if not any(key_mark(entry) for entry in entries(state.release.values).values()):
        first = "an API key comes: models want none"
    text = (
        f"{first} until their new replicas are ready, and the new one once all are and the router "
        "has started anew; between, those whose new replicas do not fit beside all old ones answer "
        "nobody"
    )
    return [text]


def lagging_router(state: ClusterState) -> list[str]:
    """Say that an interrupted change of the API key left the router behind its engines."""
    text = (
        "the router holds another API key than the engines, as an interrupted run left it: until "
        "it has theirs, models whose new replicas are ready answer nobody"
    )
    return [text] if router_lags(state.release.values) else []


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


def left_unfinished(state: ClusterState) -> list[str]:
    """Say what a run left that was interrupted; another one at work has in hand what is there."""
    if state.at_work:
        return []
    by = "an interrupted run left it so"
    kept = "its older replicas are kept beside the new ones"
    ended = "its rollout is held, and no older replica is kept for it any more: it goes on"
    texts = [
        *(f"{name}: {kept if name in state.kept else ended}" for name in sorted(state.held)),
        *(one.text for one in state.leftovers),
    ]
    return [f"{text} ({by})" for text in texts]
