"""What makes two plans the same, so that one that was looked at is the one that is done. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from vllm_flows.desired import Desired
from vllm_flows.errors import StalePlanError
from vllm_flows.observed import ClusterState
from vllm_flows.plan import Plan, Step


def fingerprint(plan: Plan, desired: Desired, state: ClusterState) -> str:
    """Return a digest of what the plan does and of what it starts from.

    Free GPUs and the like only count in so far as the plan depends on them.
    """
    found = {
        "place": [state.cluster, desired.settings.namespace],
        "steps": [_step(step) for step in plan.steps],
        "release": [plan.release_reason, state.release.revision, str(state.release.state)],
        "models": [model.model_dump(mode="json") for model in desired.models],
        "values": _without_marks(desired.values),
        "chart": desired.chart.version,
        "replaced": plan.replaced,
        "deployed": sorted(
            [one.name, one.replicas, one.revision, one.digest] for one in state.deployments.values()
        ),
        "drifts": [drift.text for drift in state.drifts],
    }
    text = json.dumps(found, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def check_expected(found: str, expected: str, verb: str = "vllm-flows plan") -> None:
    """Raise StalePlanError when the plan is not the one that was agreed to."""
    if found != expected:
        raise StalePlanError(
            "the plan that was agreed to is not what would happen now; nothing was changed",
            why="the cluster, the Hub, models.yaml or the settings moved on since it was made; or "
            "it was made for another cluster",
            next_command=f"{verb}   (look at it, and agree again)",
        )


def _step(step: Step) -> list[object]:
    rollout = step.rollout
    return [
        step.model,
        str(step.action),
        step.repository,
        step.commit,
        str(step.claim),
        [str(rollout.strategy), rollout.surge, rollout.downtime] if rollout else None,
    ]


def _without_marks(values: Any) -> Any:  # noqa: ANN401 -- JSON of any shape
    """Leave out the API key's mark: it is drawn anew for a key that is not stored yet."""
    if isinstance(values, dict):
        return {key: _without_marks(value) for key, value in values.items() if "/" not in key}
    return [_without_marks(value) for value in values] if isinstance(values, list) else values
