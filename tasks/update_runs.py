"""What the Prefect server knows of the updates that events began."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.schemas.automations import Automation
from prefect.states import Completed

from tasks.running import say
from vllm_flows.sizes import human_seconds
from vllm_flows.update_runs import UpdateRun, is_agreed, older_forms, unanswered

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
        begin = datetime.fromtimestamp(moment - _APART_SECONDS, UTC)
        runs = map(_update_run, _runs(client, {"expected_start_time": {"after_": begin}}))
        return [_heard(client, run) if run.may_be_dead(now) else run for run in runs]


def end_older_forms(namespace: str, model: str, newest: str) -> None:
    """End the updates of a model that wait for somebody's word, but for the newest (its id)."""
    with get_client(sync_client=True) as client:
        for run in older_forms(_waiting(client), namespace, model, newest):
            _end(client, run, f"{model}: {run.revision[:8]}: a newer one was announced")


def was_asked(run: str, key: str) -> bool:
    """Say whether a run (its id) was suspended by that key before, and so has its answer."""
    with get_client(sync_client=True) as client:
        return key in (client.read_flow_run(UUID(run)).empirical_policy.pause_keys or ())


def agreed_before(namespace: str, model: str, revision: str) -> bool:
    """Say whether somebody agreed to that commit, and an update to it waits for its window."""
    with get_client(sync_client=True) as client:
        scheduled = _in_state(client, StateType.SCHEDULED)
    return is_agreed(scheduled, namespace, model, revision)


def end_unanswered_forms(namespace: str, limit: float, now: float) -> None:
    """End the updates that have waited for somebody's word for longer than `limit` seconds.

    `now` is in seconds since the epoch.
    """
    with get_client(sync_client=True) as client:
        for run in unanswered(_waiting(client), namespace, limit, now):
            within = f"nobody agreed within {human_seconds(limit)}: it stays as it is"
            _end(client, run, f"{run.model}: {run.revision[:8]}: {within}")


def _waiting(client: SyncPrefectClient) -> list[UpdateRun]:
    """Return the updates that wait for somebody's word."""
    return _in_state(client, StateType.PAUSED)


def _in_state(client: SyncPrefectClient, state: StateType) -> list[UpdateRun]:
    return list(map(_update_run, _runs(client, {"state": {"type": {"any_": [state]}}})))


def _end(client: SyncPrefectClient, run: UpdateRun, why: str) -> None:
    """End a suspended run, of which there is no process; its state says why."""
    client.set_flow_run_state(UUID(run.id), Completed(message=why))
    say(why)


def begins(automation: Automation, namespace: str) -> bool:
    """Say whether an automation of that name hears the events of the namespace."""
    match = getattr(automation.trigger, "match", None)
    heard = match.model_dump().get(_NAMESPACE, namespace) if match else namespace
    return automation.enabled and namespace in ([heard] if isinstance(heard, str) else heard)


def _runs(client: SyncPrefectClient, some: Mapping[str, object]) -> Iterator[FlowRun]:
    offset = 0
    while page := client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": [_FLOW]}}),
        flow_run_filter=FlowRunFilter.model_validate(some),
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
        agreed=run.parameters.get("agreed") is True,
    )


def _heard(client: SyncPrefectClient, run: UpdateRun) -> UpdateRun:
    """Return when the run was heard of last, by the server's events: a heartbeat or so."""
    some = {"resource": {"id": [f"prefect.flow-run.{run.id}"]}}
    answer = client.request("POST", "/events/filter", json={"filter": some, "limit": 1})
    moments = [datetime.fromisoformat(one["occurred"]) for one in answer.json()["events"]]
    return replace(run, heard=max([run.heard, *(one.timestamp() for one in moments)]))
