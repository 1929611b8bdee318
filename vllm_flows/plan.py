"""What to do about what was seen: one action per model and one for the release. Pure.

The order of checks in `_step` decides for each model, `release_rules` for the release.
ARCHITECTURE.md shows both as tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from vllm_flows.desired import Desired
from vllm_flows.errors import BlockedError, VllmFlowsError
from vllm_flows.models import Model
from vllm_flows.observed import (
    API_KEY_ANNOTATION,
    DIGEST_ANNOTATION,
    ClusterState,
    DeployedModel,
    ReleaseState,
    Verdict,
    WeightsClaim,
)
from vllm_flows.quantities import parse_quantity
from vllm_flows.release_rules import check_release
from vllm_flows.sizes import human_bytes


class Action(StrEnum):
    """What happens to one model."""

    CREATE = "create"
    UPDATE = "update"
    RESTART = "restart"
    SCALE = "scale"
    DESTROY = "destroy"
    NONE = "none"
    BLOCKED = "blocked"


class ClaimAction(StrEnum):
    """What happens to the claim that holds a model's weights."""

    CREATE = "create"
    GROW = "grow"
    NONE = "none"


@dataclass(frozen=True)
class Step:
    """What happens to one model and its claim, and why; `download_bytes` are yet to be fetched."""

    model: str
    action: Action
    reason: str
    repository: str = ""
    commit: str = ""
    gpus: int = 0
    download_bytes: int = 0
    claim: ClaimAction = ClaimAction.NONE
    problem: VllmFlowsError | None = None


@dataclass(frozen=True)
class Plan:
    """What a run is going to do; `release_reason` is empty when the release stays as it is."""

    steps: tuple[Step, ...]
    release_reason: str

    @property
    def changes(self) -> bool:
        """Say whether anything is to be written."""
        return bool(self.release_reason) or any(
            step.download_bytes or step.claim is not ClaimAction.NONE for step in self.steps
        )

    def raise_if_blocked(self) -> None:
        """Raise BlockedError with every blocked model's problem, if there is one."""
        problems = [step.problem for step in self.steps if step.problem]
        if not problems:
            return
        count = f"{len(problems)} of {len(self.steps)} models cannot be served"
        hints = [problem.next_command for problem in problems if problem.next_command]
        raise BlockedError(
            f"{count}; nothing was changed",
            why="\n".join(_in_one_line(problem) for problem in problems),
            next_command="\n".join(dict.fromkeys(hints)),
        )


def _in_one_line(problem: VllmFlowsError) -> str:
    subject = f"{problem.model}: {problem.what}" if problem.model else problem.what
    return f"{subject} ({problem.why})" if problem.why else subject


def make_plan(desired: Desired, state: ClusterState) -> Plan:
    """Compare what should be with what is.

    Raises ReleaseError when the release is in a state that must not be acted on.
    """
    check_release(state.release, desired.chart.version)
    entries = _entries(desired.values)
    steps = [_step(model, desired.verdicts[model.name], state, entries) for model in desired.models]
    gone = sorted(set(state.deployments) - {model.name for model in desired.models})
    steps += [_destroy(state.deployments[name]) for name in gone]
    return Plan(tuple(steps), _release_reason(state, desired, steps))


def _step(
    model: Model, verdict: Verdict, state: ClusterState, desired: Mapping[str, Mapping[str, Any]]
) -> Step:
    claim = state.claims.get(model.name)
    problem = next(iter(verdict.problems), None) or _too_small(model, verdict) or _leaving(claim)
    if problem:
        return Step(model.name, Action.BLOCKED, problem.what, model.model_url, problem=problem)
    action, reason = _action(model, verdict, state, desired[model.name])
    complete = claim is not None and verdict.commit in claim.complete
    claim_action, note = _claim(model, claim)
    return Step(
        model.name,
        action,
        reason + note,
        repository=model.model_url,
        commit=verdict.commit,
        gpus=model.request_gpu * model.replica_count,
        download_bytes=0 if complete else verdict.total_bytes,
        claim=claim_action,
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
    model: Model, verdict: Verdict, state: ClusterState, entry: Mapping[str, Any]
) -> tuple[Action, str]:
    deployed = state.deployments.get(model.name)
    if deployed is None:
        return Action.CREATE, "not deployed"
    if deployed.revision != verdict.commit:
        served = deployed.revision[:8] or "unknown"
        return Action.UPDATE, f"revision {served} -> {verdict.commit[:8]}"
    if deployed.digest != entry["podAnnotations"][DIGEST_ANNOTATION]:
        before = _entries(state.release.values).get(model.name, {})
        changes = [*_key_change(before, entry), *differences(before, entry)]
        return Action.RESTART, ", ".join(changes) or "settings of all engines changed"
    if deployed.replicas != model.replica_count:
        return Action.SCALE, f"replicas {deployed.replicas} -> {model.replica_count}"
    return Action.NONE, "as it should be"


def _key_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    versions = [
        (entry.get("podAnnotations") or {}).get(API_KEY_ANNOTATION) for entry in (before, after)
    ]
    return ["the API key changed"] if versions[0] != versions[1] else []


def _destroy(deployed: DeployedModel) -> Step:
    return Step(
        deployed.name,
        Action.DESTROY,
        "no longer listed; its weights stay on the volume",
        commit=deployed.revision,
    )


def _too_small(model: Model, verdict: Verdict) -> VllmFlowsError | None:
    """Refuse a volume that cannot hold the weights, before a byte is fetched."""
    if verdict.total_bytes <= parse_quantity(model.pvc_storage):
        return None
    needed = -(-verdict.total_bytes * 11 // 10 // 1024**3)
    return BlockedError(
        f"pvcStorage {model.pvc_storage} is too small",
        why=f"the weights are {human_bytes(verdict.total_bytes)}",
        next_command=f"set pvcStorage: {needed}Gi in models.yaml",
        model=model.name,
    )


def _leaving(claim: WeightsClaim | None) -> VllmFlowsError | None:
    """Refuse a volume on its way out: it goes as soon as the pods that hold it are gone."""
    if claim is None or not claim.leaving:
        return None
    return BlockedError(
        "its volume is being deleted",
        why="somebody deleted the claim; it stays only while pods use it",
        next_command="vllm-flows uninstall, set-hf-token and set-api-key where used, then install",
        model=claim.model,
    )


def _release_reason(state: ClusterState, desired: Desired, steps: Sequence[Step]) -> str:
    """Say why helm has to run; empty when the release is just as it should be."""
    release, values, chart_version = state.release, desired.values, desired.chart.version
    if release.state is ReleaseState.ABSENT:
        return "not installed"
    if release.state is not ReleaseState.DEPLOYED:
        return f"the last helm run left it {release.status}"
    if release.chart_version != chart_version:
        return f"chart {release.chart_version} -> {chart_version}"
    if release.values != values:
        return "values changed"
    missing = sorted(set(_entries(values)) - set(state.deployments))
    missing += ["router"] if values["routerSpec"]["enableRouter"] and not state.router else []
    if missing:
        return f"missing Deployments: {', '.join(missing)}"
    drifted = [step.model for step in steps if step.action not in {Action.NONE, Action.BLOCKED}]
    return f"changed outside: {', '.join(drifted)}" if drifted else ""


def _entries(values: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    entries = (values.get("servingEngineSpec") or {}).get("modelSpec") or []
    return {entry["name"]: entry for entry in entries}


def differences(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield `field before -> after` for every field that differs, named as models.yaml does."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after} - {"podAnnotations", "replicaCount"}):
            yield from differences(
                before.get(key), after.get(key), f"{path}.{key}" if path else str(key)
            )
    elif before != after:
        yield f"{path} {_shown(before)} -> {_shown(after)}"


def _shown(value: object) -> str:
    if value is None:
        return "(not set)"
    if isinstance(value, list):
        return "[" + " ".join(str(item) for item in value) + "]"
    return str(value)
