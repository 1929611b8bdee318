"""Rows for people: of a plan before a run, of its outcome after. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_flows.chart import CHART_NAME
from vllm_flows.fit import Fit
from vllm_flows.observed import Verdict
from vllm_flows.outage import Outage
from vllm_flows.plan import Plan, Step
from vllm_flows.planning import Decision
from vllm_flows.repository_files import has_safetensors
from vllm_flows.sizes import human_bytes, human_seconds

Row = dict[str, str | int]

_AT_ONCE_SECONDS = 1


@dataclass(frozen=True)
class Outcome:
    """What a run ended with for one model; times in seconds.

    `ready_seconds` and `answer_seconds` are None when it was not seen to be ready, or to answer;
    `commit` is empty when the release does not have it. `silence` is for how long it did not answer
    while it was replaced, None when it was not. `result` says what became of it in a run that
    failed, and is empty in one that did not.
    """

    model: str
    action: str
    commit: str
    gpus: int
    replicas: int
    ready_seconds: float | None
    answer_seconds: float | None
    silence: Outage | None = None
    result: str = ""


@dataclass(frozen=True)
class Report:
    """What a run ended with; `changed` says whether it wrote anything."""

    outcomes: list[Outcome]
    changed: bool

    @property
    def sentence(self) -> str:
        """Say it in a line."""
        return "all models answer" if self.changed else "nothing to change; all models answer"


def plan_data(decision: Decision) -> dict[str, object]:
    """Return the plan with stable keys: its models, the release, notes, and if it changes any."""
    plan = decision.plan
    return {
        "models": models_data(plan),
        "release": {
            "reason": plan.release_reason,
            "chart": CHART_NAME,
            "version": decision.desired.chart.version,
        },
        "notes": [*plan.notes, *(f"to be written: {text}" for text in decision.unsaved())],
        "changes": decision.changes,
    }


def models_data(plan: Plan) -> list[dict[str, object]]:
    """Return one record for each model, with stable keys; sizes in bytes, None what is unknown."""
    return [_step_data(step) for step in plan.steps]


def _step_data(step: Step) -> dict[str, object]:
    return {
        "model": step.model,
        "action": str(step.action),
        "reason": step.reason,
        "wanted": str(step.wanted) if step.wanted else None,
        "modelURL": step.repository,
        "revision": step.commit,
        "gpus": step.gpus,
        "downloadBytes": _download_bytes(step),
        "access": _access_data(step.verdict),
        "fit": _fit_data(step.fit),
        "nodes": list(step.nodes),
        "problems": [
            {"what": one.what, "why": one.why, "next": one.next_command} for one in step.problems
        ],
        "notes": list(step.notes),
    }


def _download_bytes(step: Step) -> int | None:
    """Return what the run would fetch; None of a blocked model, which gets nothing as it is."""
    return None if step.problems else step.download_bytes


def _access_data(verdict: Verdict | None) -> dict[str, object] | None:
    """Return what the Hub told. What it did not tell is None: neither no, nor nothing."""
    if verdict is None:
        return None
    told, read = verdict.described, verdict.readable
    scanned = read and verdict.scanned
    gated = told or verdict.gated != "no"  # a gate may refuse before anything else is told
    return {
        "state": str(verdict.access),
        "gated": verdict.gated if gated else None,
        "license": verdict.license if told else None,
        "bytes": verdict.total_bytes if told else None,
        "safetensors": has_safetensors(verdict.files) if told else None,
        "customCode": list(verdict.custom_code) if read or verdict.custom_code else None,
        "unsafeFiles": list(verdict.unsafe_files) if scanned or verdict.unsafe_files else None,
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
    notes = [f"{step.model}: {note}" for step in plan.steps for note in step.notes]
    release = [f"the release: {plan.release_reason}"] if plan.release_reason else []
    return [*notes, *release, *(f"note: {note}" for note in plan.notes)]


def question_text(plan: Plan, reasons: Sequence[str], files: Sequence[str]) -> str:
    """Return what a person should know to agree to an update of one model, or not.

    `reasons` are why a person is asked, `files` some that are other ones than what is served.
    """
    (step,) = plan.steps
    known = [note for note in plan_notes(plan) if not any(reason in note for reason in reasons)]
    refusal = [str(plan.refusal)] if plan.refusal else []
    return "\n\n".join(
        [
            f"{step.model}: {step.action}, {step.reason}",
            *(f"for a person to decide: {reason}" for reason in reasons),
            *([f"other files: {', '.join(files)}"] if files else []),
            *(f"stands against it: {problem}" for problem in step.problems),
            *(f"stands against it: {text}" for text in refusal),
            *known,
        ]
    )


def outcome_rows(outcomes: list[Outcome]) -> list[Row]:
    """Return one row for each model; all rows have the same columns."""
    changed = any(outcome.silence is not None for outcome in outcomes)
    return [_outcome_row(outcome, changed=changed) for outcome in outcomes]


def _outcome_row(outcome: Outcome, *, changed: bool) -> Row:
    """Write an outcome; with `changed`, a model of the table was replaced while it served."""
    answer = outcome.answer_seconds
    row: Row = {
        "model": outcome.model,
        "action": outcome.action,
        "revision": outcome.commit[:8] or "-",
        "GPUs": outcome.gpus,
        "replicas": outcome.replicas,
        "ready in": _ready_in(outcome.ready_seconds),
        "answered in": "-" if answer is None else human_seconds(answer),
    }
    row |= {"silent for": _silent_for(outcome.silence)} if changed else {}
    return row | {"result": outcome.result} if outcome.result else row


def _ready_in(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return "was ready" if seconds < _AT_ONCE_SECONDS else human_seconds(seconds)


def _silent_for(silence: Outage | None) -> str:
    if silence is None:
        return "-"
    never = "never" if silence.asked else ""
    parts = [human_seconds(silence.seconds) if silence.seconds else never, silence.not_measured]
    return "; ".join(filter(None, parts)) or "-"
