"""Look at tracked revisions, and tell of those that moved: once, whoever else looks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tasks.artifacts import publish_table
from tasks.prefect_events import known_events, send_events
from tasks.running import ONCE, RETRIED, say, say_few, task
from vllm_flows.errors import ConflictError
from vllm_flows.looking_at_revisions import Look, look_at_revisions
from vllm_flows.models import Model
from vllm_flows.revision_memory import Memory, claimed, with_arrived
from vllm_flows.revision_report import (
    event_of,
    revision_data,
    revision_lines,
    revision_rows,
)
from vllm_flows.revision_store import Stored, read_stored, store
from vllm_flows.session import Session

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
    the next look finds grown old, and sends them under the same ids.
    """
    names = {model.name for model in models}
    if session.cluster.get("Namespace", session.settings.namespace) is None:
        return 0
    memory, due = _claim(session, names, found)
    if not due:
        say("nothing new to tell")
        return 0
    place = f"{session.cluster.identity()}/{session.settings.namespace}"
    events = {
        one.model: event_of(one, memory.told[one.model], session.settings.namespace, place)
        for one in found.seen
        if one.model in due
    }
    sent = _send(events, memory)
    arrived = [model for model in events if model not in sent]
    if arrived:
        _note_arrived(session, arrived)
    say(f"told of {len(sent)}: {', '.join(sent)}" if sent else "nothing new to tell")
    return len(sent)


def _claim(session: Session, names: set[str], found: Look) -> tuple[Memory, tuple[str, ...]]:
    """Claim what is due in the memory as it is now; who wrote it meanwhile is heard first."""
    for _ in range(_TRIES):
        before = read_stored(session.cluster)
        fresh = Memory(found.memory.tips, before.memory.told, found.memory.quiet_until)
        memory, due = claimed(fresh, found.seen, names, time.time())
        if _stored(session, before, memory):
            return memory, due
    raise ConflictError(
        "what is remembered of revisions is written by others all the time",
        next_command="vllm-flows check-revisions",
    )


def _send(events: dict[str, dict[str, Any]], memory: Memory) -> list[str]:
    """Send the events that the server has not; return whose they are.

    Only one that was sent before can be there.
    """
    again = {str(event["id"]) for model, event in events.items() if memory.told[model].sent_before}
    there = known_events(again) if again else set()
    due = {model: event for model, event in events.items() if event["id"] not in there}
    if due:
        send_events(list(due.values()))
    return list(due)


def _note_arrived(session: Session, models: Sequence[str]) -> None:
    """Remember that the server has these; when somebody else writes, a later look does it."""
    before = read_stored(session.cluster)
    _stored(session, before, with_arrived(before.memory, models))


def _stored(session: Session, before: Stored, memory: Memory) -> bool:
    """Say whether the memory could be written: nobody else has written since it was read."""
    try:
        store(session.cluster, before, memory)
    except ConflictError:
        return False
    return True
