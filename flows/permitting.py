"""Whether an update that an event began may go on: now, in its window, once somebody agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import httpx
from prefect import suspend_flow_run
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.input import RunInput
from prefect.runtime import deployment, flow_run
from prefect.states import Scheduled
from pydantic import Field

from tasks.running import say
from tasks.update_runs import agreed_before, end_older_forms, was_asked
from vllm_flows.models import Model
from vllm_flows.planning import Decision
from vllm_flows.redaction import redacted
from vllm_flows.report import question_text
from vllm_flows.revision_class import Change
from vllm_flows.session import Session
from vllm_flows.update_policy import May, Permission, may_update


@dataclass(frozen=True)
class News:
    """What an event told: the class of the change, why a person decides, files that differ.

    `agreed`: somebody did, by a run before this one.
    """

    change: Change
    reasons: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    agreed: bool = False


class Approval(RunInput):
    """The form in the Prefect UI of a run that waits for somebody."""

    approve: bool = Field(default=False, description="Roll this revision out?")


def permission(session: Session, model: Model, news: News | None) -> Permission:
    """Return what models.yaml says of an update now; without news somebody asked for it."""
    if news is None:
        return Permission(May.NOW, "somebody asked for it")
    zone = ZoneInfo(session.settings.timezone)
    return may_update(model, news.change, datetime.now(UTC), zone, agreed=news.agreed)


def permitted(session: Session, model: Model, run: Decision, news: News) -> May:
    """Return NOW, ASK once somebody agreed, or NO; a run like this one is begun when it is time.

    Whoever is asked is so at once; what they agreed to waits for its window. A form of before,
    about the same model, ends. An answer counts whatever models.yaml says by now: a no is a no.
    """
    asked = False
    with suppress(httpx.HTTPError):  # a form that stays ends by its time
        end_older_forms(session.settings.namespace, model.name, str(flow_run.id))
        asked = was_asked(str(flow_run.id), _key(run.commit(model.name)))
    found = permission(session, model, news)
    say(f"{model.name}: {'; '.join([found.why, *news.reasons])}")
    if news.files:
        say(f"{model.name}: other files: {', '.join(news.files)}")
    if asked or found.answer is May.ASK:
        if not (asked or _to_be_asked(session, model, run)) or not _approved(model, run, news):
            return May.NO
        return May.ASK if still_permitted(session, model, run, news, agreed=True) else May.NO
    if found.answer is May.WAIT and found.until:
        _begin_again(session, run, news, found.until)
        return May.NO
    return found.answer


def still_permitted(
    session: Session, model: Model, run: Decision, news: News, *, agreed: bool
) -> bool:
    """Say whether models.yaml and the clock let it begin after it has waited.

    `agreed`: somebody did. Where it is to wait, or to be asked about, by now, a run like this one
    is begun for that: whoever waits for a person holds no lock.
    """
    news = replace(news, agreed=news.agreed or agreed)
    found = permission(session, model, news)
    if found.answer is May.NOW:
        return True
    say(f"{model.name}: {found.why}")
    if found.answer is not May.NO:
        _begin_again(session, run, news, found.until or datetime.now(UTC))
    return False


def _begin_again(session: Session, run: Decision, news: News, until: datetime) -> None:
    """Schedule a run like this one for then; only one, however often it is asked for.

    It is for this one's commit; who agreed to that is not asked again. Where somebody cancelled
    it, none is scheduled: they do not want it then.
    """
    (step,) = run.plan.steps
    model, commit = step.model, run.commit(step.model)
    when = f"{until:%Y-%m-%d %H:%M} UTC"
    if not deployment.id:
        say(f"{model}: it may be updated from {when} on: run this again then")
        return
    with get_client(sync_client=True) as client:
        key = [session.settings.namespace, model, commit, until.isoformat(), str(news.agreed)]
        given = {"revision": commit, "agreed": news.agreed}
        found = _scheduled(client, key, until, given)
    if found.state and found.state.is_cancelled():
        say(f"{model}: the run that was scheduled for {when} was cancelled: none is")
    else:
        say(f"{model}: a run is scheduled for {when}")


def _scheduled(
    client: SyncPrefectClient, key: Sequence[str], until: datetime, given: Mapping[str, object]
) -> FlowRun:
    """Return the run that is scheduled for then, as somebody cancelled it or as it waits.

    The server knows one run by a key, of all deployments of the flow. One that was begun before its
    time has waited in vain, and has another after it; it may be this very run.
    """
    words = [deployment.id, *key]
    while True:
        found = client.create_flow_run_from_deployment(
            deployment.id,
            parameters={**flow_run.parameters, **given},
            state=Scheduled(scheduled_time=until),
            idempotency_key="/".join(words),
        )
        if found.state is None or found.state.is_scheduled() or found.state.is_cancelled():
            return found
        words.append(str(found.id))


def _to_be_asked(session: Session, model: Model, run: Decision) -> bool:
    """Say whether somebody can be asked, and did not agree before; tell of it either way."""
    if not deployment.id:
        by_hand = f"vllm-flows update {model.name}"
        say(f"{model.name}: nobody can be asked without a deployment; by hand it is `{by_hand}`")
        return False
    if agreed_before(session.settings.namespace, model.name, run.commit(model.name)):
        say(f"{model.name}: somebody agreed before, and a run is scheduled")
        return False
    say(f"{model.name}: somebody is asked to agree, in the Prefect UI (Resume)")
    return True


def _key(commit: str) -> str:
    """Return by what a run finds the answer to its form again; Prefect takes these letters."""
    return f"approval-{commit}"


def _approved(model: Model, run: Decision, news: News) -> bool:
    """Say whether somebody agreed, in a form of the Prefect UI that shows the plan.

    Until they answer, the run is suspended: no process waits. Then it begins anew, from its first
    line. A look ends the forms that nobody answers in time.
    """
    form = Approval.with_initial_data(
        description=redacted(question_text(run.plan, news.reasons, news.files))
    )
    answer = suspend_flow_run(wait_for_input=form, key=_key(run.commit(model.name)))
    say(f"{model.name}: {'somebody agreed' if answer.approve else 'somebody said no'}")
    return bool(answer.approve)
