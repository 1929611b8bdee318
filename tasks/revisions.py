"""Look at tracked revisions, and tell of those that moved: once, whoever else looks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from tasks.artifacts import publish_table
from tasks.prefect_events import known_events, send_events
from tasks.running import ONCE, RETRIED, say, say_few, task
from tasks.update_runs import end_unanswered_forms, updates_since
from vllm_flows.errors import ConflictError
from vllm_flows.looking_at_revisions import Look, look_at_revisions
from vllm_flows.models import Model
from vllm_flows.revision_memory import Memory, Seen, Told, claimed, with_arrived
from vllm_flows.revision_report import (
    event_of,
    revision_data,
    revision_lines,
    revision_rows,
)
from vllm_flows.revision_store import Stored, read_stored, store
from vllm_flows.session import Session
from vllm_flows.update_runs import died, may_have_died

_TRIES = 8


@task(name="look at revisions", task_run_name="look at revisions", **RETRIED)
def look(session: Session, models: Sequence[Model], repository: str) -> Look:
    """Return what is served and where the revisions stand; publish it as a table."""
    found = look_at_revisions(session, models, repository)
    lines = revision_lines(found.seen)
    say_few(lines, f"{len(lines)} models with something to say; the table has them")
    publish_table(revision_rows(revision_data(found.seen)), "revisions", "Tracked revisions")
    return found


@task(name="tell of revisions", task_run_name="tell of revisions", **ONCE)
def tell(session: Session, models: Sequence[Model], found: Look) -> int:
    """Send an event for each revision that moved, unless that was done; return how many.

    They are claimed in the cluster first: who is killed before they are sent leaves claims, which
    the next look finds grown old, and sends them under the same ids. What was told and led to no
    update, or to one that died, is told anew. Forms that nobody answered in time are ended.
    """
    names = {model.name for model in models}
    namespace = session.settings.namespace
    if session.cluster.get("Namespace", namespace) is None:
        return 0
    place = f"{session.cluster.identity()}/{namespace}"
    memory, due = _claim(session, names, found, place)
    events = [
        event_of(one, memory.told[one.model], namespace, place)
        for one in found.seen
        if one.model in due
    ]
    if events:
        send_events(events)
    limit = session.settings.approval_timeout.total_seconds()
    end_unanswered_forms(namespace, limit, time.time())
    say(f"told of {len(due)}: {', '.join(due)}" if due else "nothing new to tell")
    return len(due)


def _claim(
    session: Session, names: set[str], found: Look, place: str
) -> tuple[Memory, tuple[str, ...]]:
    """Claim what is due in the memory as it is now; who wrote it meanwhile is heard first."""
    for _ in range(_TRIES):
        before, now = read_stored(session.cluster), time.time()
        told = with_arrived(before.memory, _arrived(before.memory.told, place, now)).told
        fresh = Memory(found.memory.tips, told, found.memory.quiet_until)
        dead = _died(found.seen, told, session.settings.namespace, now)
        memory, due = claimed(fresh, found.seen, names, now, dead)
        if _stored(session, before, memory):
            for model in dead & set(due):
                say(f"{model}: its update died, or never began: it is told anew")
            return memory, due
    raise ConflictError(
        "what is remembered of revisions is written by others all the time",
        next_command="vllm-flows check-revisions",
    )


def _arrived(told: Mapping[str, Told], place: str, now: float) -> list[str]:
    """Return the models whose events were sent some time ago and have come to the server."""
    sent = {
        str(one.id_for(place, model)): model
        for model, one in told.items()
        if not one.arrived and not one.is_held(now)
    }
    there = known_events(sent) if sent else set()
    return [model for event, model in sent.items() if event in there]


def _died(
    seen: Sequence[Seen], told: Mapping[str, Told], namespace: str, now: float
) -> frozenset[str]:
    """Return the models whose update died, or never began."""
    asked = may_have_died(seen, told, now)
    if not asked:
        return frozenset()
    runs = updates_since(namespace, min(one.since for one in asked.values()), now)
    unproven = {one.model for one in seen if one.unproven}
    return frozenset() if runs is None else died(asked, runs, namespace, now, unproven)


def _stored(session: Session, before: Stored, memory: Memory) -> bool:
    """Say whether the memory could be written: nobody else has written since it was read."""
    try:
        store(session.cluster, before, memory)
    except ConflictError:
        return False
    return True
