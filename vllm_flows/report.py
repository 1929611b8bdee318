"""Rows for people: of a plan before a run, of its outcome after. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_flows.plan import Plan
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


def plan_data(plan: Plan) -> list[Row]:
    """Return one record for each model, with stable keys; sizes in bytes."""
    return [
        {
            "model": step.model,
            "action": str(step.action),
            "reason": step.reason,
            "modelURL": step.repository,
            "revision": step.commit,
            "gpus": step.gpus,
            "downloadBytes": step.download_bytes,
        }
        for step in plan.steps
    ]


def plan_rows(plan: Plan) -> list[Row]:
    """Return one row for each model of the plan."""
    return [
        {
            "model": step.model,
            "action": str(step.action),
            "reason": step.reason,
            "revision": step.commit[:12],
            "GPUs": step.gpus,
            "to download": human_bytes(step.download_bytes) if step.download_bytes else "-",
        }
        for step in plan.steps
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
