"""What becomes of models that do not answer after their change: what served before comes back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from flows.overlapping import Overlap
from flows.progress import Progress
from flows.proving import begin_waits, prove
from flows.running import results
from flows.waits import sorted_out
from tasks.readiness import restart_newest
from tasks.release import roll_back_release
from tasks.weights import remember_refused
from vllm_flows.common_changes import key_changes
from vllm_flows.errors import VllmFlowsError
from vllm_flows.going_back import Failures, GoneBack, Refused, WayBack, way_back
from vllm_flows.names import engine_deployment
from vllm_flows.refused_key import KeyChangedError
from vllm_flows.refusing import held_against_tried
from vllm_flows.rollout import AT_REST
from vllm_flows.session import Session
from vllm_flows.values import has_api_key
from vllm_flows.waves import Wave, stops_pods, with_strategy


def find_way_back(
    progress: Progress, wave: Wave, failed: Failures, overlap: Overlap
) -> WayBack | None:
    """Return the way back of those that failed, None where all stay as they are.

    With another key stored than they were started for nothing of before would come back, but for
    older pods that are kept and hold the key of before.
    """
    serving = _with_their_key(progress, overlap.held)
    changed = {name for name, error in failed.items() if isinstance(error, KeyChangedError)}
    lost = changed - serving
    pasts = {
        name: progress.past(name)
        for name in failed.keys() - lost
        if progress.model(name).on_failure != "keep"
    }
    back = {name: past for name, past in sorted(pasts.items()) if past}
    way = way_back(wave.values, progress.run.desired.chart.version, back) if back else None
    rotates = key_changes(progress.run.desired, progress.run.state)
    return None if way and lost and (rotates or lost.intersection(way.models)) else way


def go_back(
    progress: Progress, way: WayBack | None, failed: Failures, overlap: Overlap
) -> GoneBack:
    """Bring back what served; return its commit, or why it does not.

    Afterwards no Deployment stops its pods first, also where all stay as they are. Older pods
    that were kept are those that serve again.
    """
    back: dict[str, VllmFlowsError | str] = {}
    if way:
        with overlap.turning(way.models):
            _bring_back(progress, way, "; ".join(f"{name}: {failed[name].what}" for name in failed))
        kept = _keep_kept(progress, way, overlap)
        _beside(progress, way, set(way.models) - kept, overlap)
        still = _prove_back(progress, way, kept)
        back = {name: still.get(name) or way.commit(name)[:8] for name in way.models}
    if not (way and way.past) and stops_pods(progress.values):
        at_rest = with_strategy(progress.values, AT_REST)
        progress.apply(at_rest, "no pods stop before others start")
    return back


def _bring_back(progress: Progress, way: WayBack, reason: str) -> None:
    if way.past:
        roll_back_release(progress.run.session, way, reason)
        progress.applied = way.values
    else:
        progress.apply(way.values, f"back to what served ({reason})")


def _beside(progress: Progress, way: WayBack, names: Collection[str], overlap: Overlap) -> None:
    """Let these, made anew, start beside what failed, where both fit; then that ends well.

    It may be answering, only worse. Who does not get ready is left to the proof that follows.
    """
    overlap.begin(names)
    both = overlap.held.intersection(names)
    if both:
        session = _session_back(progress, way)
        waits = begin_waits(progress, session, progress.models(both), back=True, beside=both)
        ready, _ = sorted_out(waits)
        overlap.relieve(ready)


def _prove_back(progress: Progress, way: WayBack, kept: set[str]) -> dict[str, VllmFlowsError]:
    """Prove what went back; older pods that serve on with the key that the run was made for."""
    session, key = _session_back(progress, way), progress.run.api_key
    older = _with_their_key(progress, kept) if key else set[str]()
    still = prove(progress, [name for name in way.models if name not in older], back=session)
    return still | (prove(progress, older, back=session.with_key(key)) if key and older else {})


def _session_back(progress: Progress, way: WayBack) -> Session:
    """Return the session that asks what went back: with no key where it was made without."""
    return replace(progress.run.session, keyless=not has_api_key(way.values))


def _with_their_key(progress: Progress, kept: set[str]) -> set[str]:
    """Return those whose older pods hold the key that the run was made for."""
    return set() if key_changes(progress.run.desired, progress.run.state) else kept


def refuse(progress: Progress, way: WayBack, failed: Failures) -> Mapping[str, Refused]:
    """Note on their claims which commits did not do, of models that serve another one again."""
    again = [name for name in failed if isinstance(progress.gone_back.get(name), str)]
    found = {name: held_against_tried(progress.run, way, name, failed[name]) for name in again}
    refused = {name: why for name, why in found.items() if why}
    results(
        remember_refused.submit(
            progress.run.session, progress.run.claim(name), progress.run.commit(name), why
        )
        for name, why in refused.items()
    )
    return {
        name: Refused(progress.model(name), progress.run.commit(name), way.commit(name))
        for name in refused
    }


def _keep_kept(progress: Progress, way: WayBack, overlap: Overlap) -> set[str]:
    """Let go of rollouts that go back, to older pods that are there still; return the models.

    Where the run stored another API key than those hold, they start anew.
    """
    kept = overlap.held & set(way.models)
    overlap.let_go(kept)
    for name in sorted(kept - _with_their_key(progress, kept)):
        restart_newest(progress.run.session, name, engine_deployment(name))
    return kept
