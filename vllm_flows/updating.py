"""Whether one model is to be brought to another commit. Pure."""

from __future__ import annotations

from vllm_flows.models import answers_prompts
from vllm_flows.plan import Action
from vllm_flows.planning import Decision
from vllm_flows.update_policy import did_not_do


def why_not(run: Decision, announced: str | None, *, again: bool) -> str:
    """Say why there is nothing to do for the one model of a decision; empty when there is.

    `announced` is the commit that an event told of, None without one. `again`: a commit that did
    not do before is tried. Of a revision that the Hub does not show, no commit is known. What runs
    already and was not seen to answer is asked: an interrupted update left it so.
    """
    (step,) = run.plan.steps
    commit = run.commit(step.model)
    if announced and commit and commit != announced:
        return f"its revision is at {commit[:8]} by now, and no longer at {announced[:8]}"
    if runs_already(run):
        return "" if _is_to_be_asked(run) else f"serves {commit[:8]} already"
    refused = run.claim(step.model).refused
    if commit in refused and not again:
        return f"{commit[:8]} {did_not_do(step.model, refused[commit])}"
    return ""


def _is_to_be_asked(run: Decision) -> bool:
    """Say whether what runs is yet to answer, also where something else is to be done for that."""
    (model,), (step,) = run.desired.models, run.plan.steps
    asks = Action.PROVE in {step.action, step.wanted}
    left = answers_prompts(model) and run.left_unproven(model)
    return asks or left or model.name in run.state.held


def runs_already(run: Decision) -> bool:
    """Say whether the one model of a decision was brought to its commit before, proven or not."""
    (step,) = run.plan.steps
    deployed = run.state.deployments.get(step.model)
    return bool(deployed and deployed.revision == run.commit(step.model))
