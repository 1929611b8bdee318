"""Rows for people: of a plan before a run, of its outcome after. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_flows.fit import Fit
from vllm_flows.observed import Verdict
from vllm_flows.plan import Plan, Step
from vllm_flows.repository_files import has_safetensors
from vllm_flows.sizes import human_bytes, human_seconds

Row = dict[str, str | int]

_AT_ONCE_SECONDS = 1


@dataclass(frozen=True)
class Outcome:
    """What a run ended with for one model; times in seconds."""

    model: str
    action: str
    commit: str
    gpus: int
    replicas: int
    ready_seconds: float
    answer_seconds: float | None


@dataclass(frozen=True)
class Report:
    """What a run ended with; `changed` says whether it wrote anything."""

    outcomes: list[Outcome]
    changed: bool

    @property
    def sentence(self) -> str:
        """Say it in a line."""
        return "all models answer" if self.changed else "nothing to change; all models answer"


def plan_data(plan: Plan) -> list[dict[str, object]]:
    """Return one record for each model, with stable keys; sizes in bytes."""
    return [_step_data(step) for step in plan.steps]


def _step_data(step: Step) -> dict[str, object]:
    return {
        "model": step.model,
        "action": str(step.action),
        "reason": step.reason,
        "modelURL": step.repository,
        "revision": step.commit,
        "gpus": step.gpus,
        "downloadBytes": step.download_bytes,
        "access": _access_data(step.verdict),
        "fit": _fit_data(step.fit),
        "nodes": list(step.nodes),
        "problems": [
            {"what": one.what, "why": one.why, "next": one.next_command} for one in step.problems
        ],
        "notes": list(step.notes),
    }


def _access_data(verdict: Verdict | None) -> dict[str, object] | None:
    if verdict is None:
        return None
    return {
        "state": str(verdict.access),
        "gated": verdict.gated,
        "license": verdict.license,
        "bytes": verdict.total_bytes,
        "safetensors": has_safetensors(verdict.files),
        "customCode": list(verdict.custom_code),
        "unsafeFiles": list(verdict.unsafe_files),
    }


def _fit_data(fit: Fit | None) -> dict[str, object] | None:
    """Return the memory per GPU in bytes."""
    if fit is None:
        return None
    return {
        "result": str(fit.result),
        "text": fit.text,
        "weightsBytes": fit.weights,
        "kvCacheBytes": fit.kv_cache,
        "overheadBytes": fit.overhead,
        "availableBytes": fit.available,
        "largestMaxModelLen": fit.largest_max_model_len,
        "smallestTensorParallelSize": fit.smallest_tensor_parallel_size,
    }


def plan_rows(plan: Plan) -> list[Row]:
    """Return one row for each model of the plan."""
    return [
        {
            "model": step.model,
            "action": str(step.action),
            "access": str(step.verdict.access) if step.verdict else "-",
            "fit": str(step.fit.result) if step.fit else "-",
            "GPUs": step.gpus,
            "download": human_bytes(step.download_bytes) if step.download_bytes else "-",
            "reason": step.reason,
        }
        for step in plan.steps
    ]


def plan_notes(plan: Plan) -> list[str]:
    """Return what a reader should know beside the table, a line each."""
    return [f"{step.model}: {note}" for step in plan.steps for note in step.notes] + [
        f"note: {note}" for note in plan.notes
    ]


def outcome_rows(outcomes: list[Outcome]) -> list[Row]:
    """Return one row for each model that is served."""
    return [
        {
            "model": outcome.model,
            "action": outcome.action,
            "revision": outcome.commit[:12],
            "GPUs": outcome.gpus,
            "replicas": outcome.replicas,
            "ready in": "was ready"
            if outcome.ready_seconds < _AT_ONCE_SECONDS
            else human_seconds(outcome.ready_seconds),
            "first answer in": "-"
            if outcome.answer_seconds is None
            else human_seconds(outcome.answer_seconds),
        }
        for outcome in outcomes
    ]
