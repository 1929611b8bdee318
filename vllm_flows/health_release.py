"""What somebody changed on the release, as findings of the models it is about. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from vllm_flows.drift import Drift
from vllm_flows.health import RELEASE, ROUTER, Finding, Kind
from vllm_flows.names import ROUTER_DEPLOYMENT, ROUTER_SERVICE, engine_deployment, engine_service
from vllm_flows.observed import Leftover, Release, ReleaseState


def judge_drifts(drifts: Iterable[Drift], models: Collection[str]) -> dict[str, list[Finding]]:
    """Return the findings by model; what belongs to none is the router's, or the release's."""
    owners = {name: model for model in models for name in _names(model)}
    owners |= dict.fromkeys((ROUTER_DEPLOYMENT, ROUTER_SERVICE), ROUTER)
    found: dict[str, list[Finding]] = {}
    for drift in drifts:
        owner = owners.get(drift.name, RELEASE)
        found.setdefault(owner, []).append(Finding(Kind.CHANGED_OUTSIDE, drift.text))
    return found


def _names(model: str) -> tuple[str, ...]:
    return engine_deployment(model), engine_service(model)


def judge_release(release: Release) -> list[Finding]:
    """Judge the state that helm left the release in."""
    if release.state is ReleaseState.DEPLOYED:
        return []
    if release.state is ReleaseState.ABSENT:
        return [Finding(Kind.NOT_DEPLOYED, "there is no release in the namespace")]
    return [Finding(Kind.UNFINISHED, f"the release is {release.state}")]


def judge_leftovers(found: Iterable[Leftover]) -> list[Finding]:
    """Judge what an interrupted run left: it may hold GPUs."""
    by = "by the next run: an interrupted one left it, and it holds what it runs on"
    return [Finding(Kind.UNFINISHED, f"{one.text} ({by})") for one in found]
