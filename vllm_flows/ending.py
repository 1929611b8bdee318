"""What is said of each model when a run ends before all of them answered. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_flows.differences import entries
from vllm_flows.errors import VllmFlowsError
from vllm_flows.plan import STAYING, Action, Step


def begun(step: Step, applied: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> bool:
    """Say whether the run came as far as this model.

    `applied` are the values that helm brought last, None when it brought none yet; `wanted` are
    those of the plan.
    """
    if step.action in STAYING:
        return True
    if applied is None:
        return False
    return entries(applied).get(step.model) == entries(wanted).get(step.model)


def result(
    step: Step,
    *,
    seen: str,
    came_to_it: bool,
    failed: VllmFlowsError | None = None,
    back: VllmFlowsError | str | None = None,
) -> str:
    """Say what became of one model.

    `seen` says how it was found, if it did not fail; `failed` why it does not answer; `back` to
    which commit it went back, or why that did not help.
    """
    if isinstance(back, VllmFlowsError):
        return f"went back, and failed: {back.what}"
    if back:
        return f"went back: {back} answers"
    if failed:
        return f"failed: {failed.what}"
    if not came_to_it:
        return "not begun"
    return "removed" if step.action is Action.DESTROY else seen
