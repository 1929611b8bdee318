"""What to do about what was seen: one action per model and one for the release. Pure.

The order of checks in `_action` decides for each model, `release_rules` for the release, `checks`
what stands against it, `rooms` where the new replicas go and how they replace the old ones.
ARCHITECTURE.md shows the decisions as tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllm_flows.capacity import needs_of, parting, unknown_gpus, unknown_room
from vllm_flows.chart import overruled_version
from vllm_flows.checks import Findings, check_model
from vllm_flows.claims import is_unproven, missing_bytes, served_before
from vllm_flows.common_changes import (
    change_together,
    chart_change,
    lagging_router,
    left_unfinished,
    made_anew,
    new_key,
)
from vllm_flows.desired import Desired
from vllm_flows.differences import at_commit, changes, entries
from vllm_flows.errors import VllmFlowsError
from vllm_flows.fit import Fits
from vllm_flows.models import Model, answers_prompts
from vllm_flows.names import ROUTER_DEPLOYMENT, engine_deployment
from vllm_flows.observed import (
    DIGEST_ANNOTATION,
    ClusterState,
    DeployedModel,
    ReleaseState,
    Verdict,
    WeightsClaim,
)
from vllm_flows.placement import Placement
from vllm_flows.plan import STAYING, Action, ClaimAction, Plan, Step
from vllm_flows.quantities import parse_quantity
from vllm_flows.release_rules import check_release
from vllm_flows.revisions import other_terms
from vllm_flows.rollout import Rollout
from vllm_flows.rooms import Room, find_rooms
from vllm_flows.selectors import to_replace
from vllm_flows.storage import Storage
from vllm_flows.trials import Moving
from vllm_flows.waves import same_values, stops_pods
from vllm_flows.weights_manifests import WeightsOrder
from vllm_flows.weights_place import no_room_for_weights, weights_hosts

_NOT_ACTING = STAYING | {Action.BLOCKED}
_SUPERSEDED = "superseded"
"""Helm's word for a revision that a newer one came after; where that is gone, it is the newest."""
_NOT_CHECKED = (
    "not checked whether vLLM takes the changed options or has the memory: the model's "
    "configuration could not be read"
)


@dataclass(frozen=True)
class _Draft:
    """A model's step as far as it can be said without looking at the other models."""

    model: Model
    verdict: Verdict
    action: Action
    reason: str
    claim: ClaimAction
    findings: Findings

    @property
    def acts(self) -> bool:
        """Say whether the run changes pods of the model."""
        return self.action not in _NOT_ACTING and not self.findings.problems


def make_plan(desired: Desired, state: ClusterState) -> Plan:
    """Compare what should be with what is.

    Raises ReleaseError when the release is in a state that must not be acted on.
    """
    check_release(state.release)
    replaced = to_replace(state.selectors, desired.selectors)
    together = change_together(desired, state)
    values = entries(desired.values)
    drafts = [
        _draft(model, desired.verdicts[model.name], desired, state, values.get(model.name))
        for model in desired.models
    ]
    unlisted = set(state.deployments) - {model.name for model in desired.models}
    gone = [] if desired.partial else sorted(unlisted)
    moving = [
        Moving(draft.model, draft.action, draft.findings.barred) for draft in drafts if draft.acts
    ]
    rooms = find_rooms(moving, gone, desired, state, together=together)
    steps = [_step(draft, rooms.get(draft.model.name), desired, state) for draft in drafts]
    steps += [_destroy(state.deployments[name]) for name in gone]
    reason = _release_reason(state, desired, steps)
    notes = (
        *overruled_version(desired.settings, desired.chart),
        *made_anew(replaced),
        *new_key(desired, state),
        *lagging_router(state),
        *(unfinished := left_unfinished(state)),
        *_unknown(steps, state),
        *_unready_router(state),
    )
    return Plan(tuple(steps), reason, notes, replaced, together, bool(unfinished))


def _unknown(steps: Sequence[Step], state: ClusterState) -> tuple[str, ...]:
    """Say what could not be seen; of the GPUs' size where a model's fit hangs on it."""
    unknown = any(step.fit and step.fit.result is Fits.UNKNOWN for step in steps)
    return (*unknown_room(state.around), *(unknown_gpus(state.around) if unknown else ()))


def _unready_router(state: ClusterState) -> list[str]:
    """Say that no model can be asked through the router that is there."""
    text = (
        f"no pod of the router is ready ({ROUTER_DEPLOYMENT}): until one is, no model answers "
        "through it, and none is judged"
    )
    return [text] if state.router and not state.router_ready else []


def _draft(
    model: Model,
    verdict: Verdict,
    desired: Desired,
    state: ClusterState,
    entry: Mapping[str, Any] | None,
) -> _Draft:
    if entry is None:  # the Hub refuses it: there is no commit to compare with
        action, reason = Action.BLOCKED, ""
    else:
        action, reason = _action(model, verdict, state, entry, chart_change(desired, state))
    claim_action, note = _claim(model, state.claims.get(model.name))
    findings = check_model(model, verdict, desired, state, runs=action in STAYING)
    if action is Action.RESTART and not verdict.config and not findings.problems:
        findings = replace(findings, notes=(*findings.notes, _NOT_CHECKED))
    if action is Action.UPDATE:
        told = (*_terms(model, verdict, state), *_unseen(model, state))
        findings = replace(findings, notes=(*findings.notes, *told))
    return _Draft(model, verdict, action, reason + note, claim_action, findings)


def _terms(model: Model, verdict: Verdict, state: ClusterState) -> tuple[str, ...]:
    """Say which terms of the repository are other ones than those of what is served."""
    claim, deployed = state.claims.get(model.name), state.deployments.get(model.name)
    served = claim.described.get(deployed.revision) if claim and deployed else None
    return other_terms(served, verdict) if served else ()


def _unseen(model: Model, state: ClusterState) -> tuple[str, ...]:
    """Say that what serves was not seen to answer, and how it is asked before it is replaced."""
    claim, deployed = state.claims.get(model.name), state.deployments.get(model.name)
    if not claim or not deployed or not is_unproven(model, deployed, claim):
        return ()
    told = f"{deployed.revision[:8]}, which serves, was not seen to answer"
    stays = model.on_failure == "keep" and model.name not in state.held
    return (told if stays else f"{told}: `vllm-flows update {model.name}` asks it first",)


def _step(draft: _Draft, found: Room | None, desired: Desired, state: ClusterState) -> Step:
    room = found or Room()
    model, verdict, findings = draft.model, draft.verdict, draft.findings
    problems = findings.problems + ((room.problem,) if room.problem else ())
    rollout = room.rollout
    told = _told(model, rollout, desired, state) if rollout and not problems else ()
    claim = state.claims.get(model.name)
    step = Step(
        model.name,
        draft.action,
        draft.reason,
        repository=model.model_url,
        commit=verdict.commit,
        gpus=model.request_gpu * model.replica_count,
        claim=draft.claim,
        verdict=verdict,
        fit=findings.fit,
        nodes=room.nodes,
        rollout=rollout,
        notes=(*findings.notes, *room.notes, *told),
    )
    if problems:
        return _blocked(step, problems, state)
    if claim and verdict.commit in claim.complete:
        return step
    order = _order(model, claim, room.placement, desired, state)
    crowded = no_room_for_weights(model, tuple(order.nodes), desired.settings, state)
    if crowded:
        return _blocked(step, (crowded,), state)
    return replace(step, order=order, download_bytes=missing_bytes(verdict, claim))


def _blocked(step: Step, problems: tuple[VllmFlowsError, ...], state: ClusterState) -> Step:
    """Return the step with what stands against it; of a deployed model with what it keeps back."""
    kept_back = step.model in state.deployments and step.action not in _NOT_ACTING
    return replace(
        step,
        action=Action.BLOCKED,
        reason=problems[0].what + (f" (wanted: {step.action}, {step.reason})" if kept_back else ""),
        wanted=None if step.action is Action.BLOCKED else step.action,
        problems=problems,
    )


def _told(model: Model, rollout: Rollout, desired: Desired, state: ClusterState) -> tuple[str, ...]:
    """Say how the model's pods are replaced, and what may come between."""
    if not model.replica_count:
        return ()
    apart = parting(model, desired.settings, state) if rollout.surge else ()
    return (rollout.text, *apart)


def _order(
    model: Model,
    claim: WeightsClaim | None,
    place: Placement,
    desired: Desired,
    state: ClusterState,
) -> WeightsOrder:
    running = state.running(model.name)
    return WeightsOrder(
        nodes=weights_hosts(model, place, desired.settings, state),
        tolerations=needs_of(model, state.around).tolerations,
        keep=tuple(sorted(running)),
        before=served_before(claim, running) if claim else "",
        budget=Storage(model, claim, desired.settings).bytes,
    )


def _claim(model: Model, claim: WeightsClaim | None) -> tuple[ClaimAction, str]:
    """Decide on the claim; a volume can grow, and never shrinks."""
    if claim is None:
        return ClaimAction.CREATE, ""
    wanted, there = parse_quantity(model.pvc_storage), parse_quantity(claim.size)
    if wanted > there:
        return ClaimAction.GROW, f"; its volume grows from {claim.size} to {model.pvc_storage}"
    if wanted < there:
        return ClaimAction.NONE, f"; its volume stays {claim.size}, volumes do not shrink"
    return ClaimAction.NONE, ""


def _action(
    model: Model, verdict: Verdict, state: ClusterState, entry: Mapping[str, Any], chart: str
) -> tuple[Action, str]:
    deployed = state.deployments.get(model.name)
    if deployed is None:
        return Action.CREATE, "not deployed"
    before = entries(state.release.values).get(model.name, {})
    if deployed.revision != verdict.commit:
        served = deployed.revision[:8] or "unknown"
        others = before and changes(at_commit(before, deployed.revision, verdict.commit), entry)
        told = f"revision {served} -> {verdict.commit[:8]}"
        told = f"{others}, {told}" if others else told
        return Action.UPDATE, f"{chart}, {told}" if chart else told
    if deployed.digest != entry["podAnnotations"][DIGEST_ANNOTATION]:
        told = ", ".join(filter(None, [chart, changes(before, entry)]))
        return Action.RESTART, told or "settings of all engines changed"
    outside = [drift for drift in state.drifts if drift.restarts(engine_deployment(model.name))]
    if outside:
        return Action.RESTART, f"{_found(state)}: {outside[0].text}"
    if deployed.replicas != model.replica_count:
        told = f"replicas {deployed.replicas} -> {model.replica_count}"
        staying, why = _staying(model, deployed.digest, state.claims.get(model.name))
        first = staying is Action.PROVE and model.replica_count and deployed.replicas
        return Action.SCALE, f"{told}; {why}" if first else told
    return _staying(model, deployed.digest, state.claims.get(model.name))


def _staying(model: Model, digest: str, claim: WeightsClaim | None) -> tuple[Action, str]:
    """Say of a model that is deployed as it should be whether it was seen to answer so.

    A run that failed, or was killed before it could ask, leaves one that was not.
    """
    proven = claim.proven if claim else ""
    if not answers_prompts(model) or proven == digest:
        return Action.NONE, "as it should be"
    if not proven:
        return Action.PROVE, "not proven: not yet seen to answer so; it is asked"
    if model.on_failure == "keep":
        return Action.PROVE, "not proven: it is asked last, and stays if it does not answer"
    return Action.PROVE, "not proven: it is asked first; goes back if it does not answer"


def _destroy(deployed: DeployedModel) -> Step:
    return Step(
        deployed.name,
        Action.DESTROY,
        "no longer listed; its weights stay on the volume",
        commit=deployed.revision,
    )


def _release_reason(state: ClusterState, desired: Desired, steps: Sequence[Step]) -> str:
    """Say why helm has to run; empty when the release is just as it should be."""
    reason, outside = _own_reason(state, desired), [drift.text for drift in state.drifts]
    if not reason and not outside:
        outside = [s.model for s in steps if s.action not in _NOT_ACTING]
    told = [f"{_found(state)}: {'; '.join(outside)}"] if outside else []
    return "; ".join([reason, *told] if reason else told)


def _found(state: ClusterState) -> str:
    """Say what it means that objects are not as helm wrote them."""
    lost = state.release.status == _SUPERSEDED
    return f"not as in revision {state.release.revision}" if lost else "changed outside"


def _own_reason(state: ClusterState, desired: Desired) -> str:
    """Say what of the release itself is not as it should be."""
    release, values = state.release, desired.values
    if release.state is ReleaseState.ABSENT:
        return "not installed"
    if release.state is not ReleaseState.DEPLOYED:
        lost = f"helm's newest revision is lost; the newest that it knows is {release.revision}"
        left = f"the last helm run left it {release.status}"
        return lost if release.status == _SUPERSEDED else left
    if chart := chart_change(desired, state):
        return chart
    if not same_values(release.values, values):
        return "values changed"
    running = {name for name in state.deployments if engine_deployment(name) not in state.left}
    missing = sorted(set(entries(values)) - running)
    missing += ["router"] if values["routerSpec"]["enableRouter"] and not state.router else []
    if not missing and stops_pods(release.values):
        return "a change that did not end well left pods to be stopped before others start"
    return f"missing Deployments: {', '.join(missing)}" if missing else ""
