"""What a health check asks beside the models: the Hub, helm, the volumes, the router's counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

from vllm_flows.drift import Drift
from vllm_flows.errors import VllmFlowsError
from vllm_flows.health import RELEASE, Checked, Finding, Kind
from vllm_flows.health_hub_asking import Told, ask_hub, not_told
from vllm_flows.health_looking import Look
from vllm_flows.health_release import judge_drifts, judge_leftovers, judge_release
from vllm_flows.health_router import Counts, counts
from vllm_flows.health_volumes import Looked, inspect_volumes
from vllm_flows.models import Model
from vllm_flows.observed import Release
from vllm_flows.replicas import Replica, ready_replicas
from vllm_flows.retrying import TryAgainError, begun, within
from vllm_flows.session import Session

Result = TypeVar("Result")

_SECONDS = 180.0
"""For the Hub, and for helm; the Jobs on the volumes have an end of their own."""
_ROUTER_SECONDS = 10.0


@dataclass(frozen=True)
class Beside:
    """Questions that are under way while the models are asked."""

    volumes: Future[Looked]
    hub: Future[Told]
    release: Future[tuple[Release, tuple[Drift, ...]]]


@dataclass(frozen=True)
class BesideTold:
    """What came of them; `drifts` are findings by model, `release` those of the release itself."""

    volumes: Looked
    hub: Told
    drifts: Mapping[str, Sequence[Finding]]
    release: Checked


def begin(session: Session, models: Sequence[Model], seen: Look, *, deep: bool) -> Beside:
    """Put all questions, each in a thread of its own."""
    chosen = {model.name for model in models}
    claims = {name: one for name, one in seen.claims.items() if name in chosen}
    pods = [pod for name in chosen for pod in seen.pods.get(name, ())]
    return Beside(
        begun(lambda: inspect_volumes(session, claims, pods, deep=deep)),
        begun(lambda: ask_hub(session, models, claims)),
        begun(session.changed_outside),
    )


def end(beside: Beside, seen: Look) -> BesideTold:
    """Wait for the answers; who does not give one is inconclusive."""
    try:
        release, changed = _answer(beside.release, _SECONDS)
        if seen.changing:  # who is at work holds rollouts, and lets them go
            changed = tuple(filter(None, (one.but_held for one in changed)))
        drifts = judge_drifts(changed, seen.statuses)
        shared = [*judge_release(release), *drifts.pop(RELEASE, ())]
        shared += [] if seen.changing else judge_leftovers(seen.leftovers)
    except VllmFlowsError as error:
        drifts = {}
        shared = [_unknown("what was changed on the release is not known", error)]
    return BesideTold(
        _or_else(beside.volumes, None, lambda error: Looked(failed={"(all)": error.what})),
        _or_else(beside.hub, _SECONDS, not_told),
        drifts,
        Checked(RELEASE, tuple(shared)),
    )


def router_counts(session: Session, seen: Look) -> Counts:
    """Read the routers' counters; none where no router is to be read."""
    pages = (_page(session, replica) for replica in ready_replicas(seen.router_pods))
    return counts(page for page in pages if page)


def _page(session: Session, replica: Replica) -> str:
    def read() -> str:
        with session.replica_api(replica, None) as api:
            return api.metrics()

    try:
        return within(_ROUTER_SECONDS, read)
    except (VllmFlowsError, TryAgainError):
        return ""


def _unknown(what: str, error: VllmFlowsError) -> Finding:
    return Finding(Kind.NOT_MEASURED, f"{what}: {error.what}", error.why, error.next_command)


def _or_else(
    asked: Future[Result], seconds: float | None, otherwise: Callable[[VllmFlowsError], Result]
) -> Result:
    try:
        return _answer(asked, seconds)
    except VllmFlowsError as error:
        return otherwise(error)


def _answer(asked: Future[Result], seconds: float | None) -> Result:
    """Return the answer. Raises VllmFlowsError when there is none in time."""
    wait([asked], seconds)
    if not asked.done():
        raise VllmFlowsError(f"no answer within {seconds:.0f} s")
    return asked.result()
