"""See what is there, decide what to do, and show it before anything is touched."""

from __future__ import annotations

from tasks.artifacts import publish_table
from tasks.running import RETRIED, say, say_few, task
from vllm_flows.observed import ClusterState
from vllm_flows.plan import Action, Plan, Step
from vllm_flows.report import plan_notes, plan_rows
from vllm_flows.session import Session

_LIMIT_SECONDS = 300


@task(
    name="observe cluster",
    task_run_name="observe cluster",
    timeout_seconds=_LIMIT_SECONDS,
    **RETRIED,
)
def observe_cluster(session: Session) -> ClusterState:
    """Return the state of the release, the engines and the volumes."""
    state = session.observe()
    release = state.release
    named = f" ({release.status}, revision {release.revision})" if release.revision else ""
    say(f"release {release.state}{named}, models deployed: {len(state.deployments)}")
    return state


@task(name="show plan", task_run_name="show plan", timeout_seconds=_LIMIT_SECONDS, **RETRIED)
def show_plan(plan: Plan) -> None:
    """Publish the plan as a table and say it line by line."""
    publish_table(plan_rows(plan), "plan", _description(plan))
    staying = [step for step in plan.steps if step.action is Action.NONE]
    for step in plan.steps:
        if step.action is not Action.NONE:
            say(_line(step))
    say_few(list(map(_line, staying)), f"plan: {len(staying)} models stay as they are")
    for note in plan_notes(plan):
        say(f"plan: {note}")


def _line(step: Step) -> str:
    return f"plan: {step.model}: {step.action} ({step.reason})"


def _description(plan: Plan) -> str:
    """Return the heading, then what stands against models and what to know, as a list."""
    if plan.release_reason:
        heading = f"Plan. The Helm release changes: {plan.release_reason}."
    else:
        heading = "Plan. The Helm release stays as it is."
    problems = [str(problem) for step in plan.steps for problem in step.problems]
    return "\n\n".join([heading, *problems, *plan_notes(plan)])
