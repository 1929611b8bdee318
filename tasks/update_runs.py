"""What the Prefect server knows of the updates that events began."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.schemas.automations import Automation

from vllm_flows.update_runs import UpdateRun

AUTOMATION = "update on a new revision"
"""Begins an update for an event, by its name in prefect.yaml."""
_FLOW = "update"
_NAMESPACE = "vllm-flows.namespace"
_PAGE = 200
_APART_SECONDS = 300.0
"""By how much the server's clock may be behind."""


def updates_since(namespace: str, moment: float, now: float) -> list[UpdateRun] | None:
    """Return the updates that were to begin after `moment` (both are seconds since the epoch).

    None where no event of the namespace begins any: its automation is not there, or was disabled.
    """
    with get_client(sync_client=True) as client:
        if not any(begins(one, namespace) for one in client.read_automations_by_name(AUTOMATION)):
            return None
        runs = map(_update_run, _runs(client, moment - _APART_SECONDS))
        return [_heard(client, run) if run.may_be_dead(now) else run for run in runs]


def begins(automation: Automation, namespace: str) -> bool:
    """Say whether an automation of that name hears the events of the namespace."""
    match = getattr(automation.trigger, "match", None)
    heard = match.model_dump().get(_NAMESPACE, namespace) if match else namespace
    return automation.enabled and namespace in ([heard] if isinstance(heard, str) else heard)


def _runs(client: SyncPrefectClient, moment: float) -> Iterator[FlowRun]:
    begin = datetime.fromtimestamp(moment, UTC)
    offset = 0
    while page := client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": [_FLOW]}}),
        flow_run_filter=FlowRunFilter.model_validate({"expected_start_time": {"after_": begin}}),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=_PAGE,
        offset=offset,
    ):
        yield from page
        offset += len(page)


def _update_run(run: FlowRun) -> UpdateRun:
    return UpdateRun(
        id=str(run.id),
        model=str(run.parameters.get("model")),
        namespace=str(run.parameters.get("namespace")),
        revision=str(run.parameters.get("revision")),
        state=run.state.type.value if run.state else "SCHEDULED",
        heard=run.state.timestamp.timestamp() if run.state else 0.0,
    )


def _heard(client: SyncPrefectClient, run: UpdateRun) -> UpdateRun:
    """Return when the run was heard of last, by the server's events: a heartbeat or so."""
    some = {"resource": {"id": [f"prefect.flow-run.{run.id}"]}}
    answer = client.request("POST", "/events/filter", json={"filter": some, "limit": 1})
    moments = [datetime.fromisoformat(one["occurred"]) for one in answer.json()["events"]]
    return replace(run, heard=max([run.heard, *(one.timestamp() for one in moments)]))
