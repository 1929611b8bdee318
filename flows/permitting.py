"""Whether an update that an event began may go on: now, in its window, once somebody agrees."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from prefect import pause_flow_run
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from prefect.states import Scheduled
from pydantic import Field

from tasks.running import say
from vllm_flows.models import Model
from vllm_flows.planning import Decision
from vllm_flows.redaction import redacted
from vllm_flows.report import plan_notes
from vllm_flows.revision_class import Change
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds
from vllm_flows.update_policy import May, may_update

_POLL_SECONDS = 10


class Approval(RunInput):
    """The form in the Prefect UI of a run that waits for somebody."""

    approve: bool = Field(default=False, description="Roll this revision out?")


def permitted(session: Session, model: Model, run: Decision, change: str) -> bool:
    """Say whether to go on; where it is not yet time, this run is begun again then."""
    zone = ZoneInfo(session.settings.timezone)
    found = may_update(model, Change(change), datetime.now(UTC), zone)
    say(f"{model.name}: {found.why}")
    if found.answer is May.WAIT and found.until:
        _begin_again(model.name, run.commit(model.name), found.until)
    return found.answer is May.NOW or (found.answer is May.ASK and _approved(session, model, run))


def _begin_again(model: str, commit: str, until: datetime) -> None:
    """Schedule a run like this one for then; only one, however often it is asked for."""
    when = f"{until:%Y-%m-%d %H:%M} UTC"
    if not deployment.id:
        say(f"{model}: it may be updated from {when} on: run this again then")
        return
    with get_client(sync_client=True) as client:
        client.create_flow_run_from_deployment(
            deployment.id,
            parameters=flow_run.parameters,
            state=Scheduled(scheduled_time=until),
            idempotency_key=f"{model}/{commit}/{until.isoformat()}",
        )
    say(f"{model}: a run is scheduled for {when}")


def _approved(session: Session, model: Model, run: Decision) -> bool:
    """Wait with a form in the Prefect UI that shows the plan; nobody's answer is a no."""
    limit = int(session.settings.approval_timeout.total_seconds())
    say(f"{model.name}: waits for somebody to agree, in the Prefect UI (Resume)")
    form = Approval.with_initial_data(description=_form_text(model, run))
    try:
        answer = pause_flow_run(wait_for_input=form, timeout=limit, poll_interval=_POLL_SECONDS)
    except FlowPauseTimeout:
        say(f"{model.name}: nobody agreed within {human_seconds(limit)}: it stays as it is")
        return False
    say(f"{model.name}: {'somebody agreed' if answer.approve else 'somebody said no'}")
    return bool(answer.approve)


def _form_text(model: Model, run: Decision) -> str:
    (step,) = run.plan.steps
    lines = [f"{model.name}: {step.action}, {step.reason}", *plan_notes(run.plan)]
    return redacted("\n\n".join(lines))
