"""Which changes of state are told, each once. Pure."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vllm_flows.health import Checked, State
from vllm_flows.health_memory import NOTHING, Memory
from vllm_flows.redaction import redacted

EVENT = "vllm-flows.model.health"
RESOURCE = "vllm-flows.model"
SUMMARY = "vllm-flows.health.changed"
SUMMARY_RESOURCE = "vllm-flows.health"
_LINES = 20
"""Models that a summary names."""
_SHOWN = 5
"""Findings that an event tells; the artifact has them all."""


@dataclass(frozen=True)
class Change:
    """A model is in another state than the one that was last told; "unknown" before the first.

    `since` is when it was first found so, in seconds since the epoch.
    """

    checked: Checked
    namespace: str
    old: str
    since: float

    @property
    def id(self) -> uuid.UUID:
        """The event's id: the same change is the same event, whoever sends it and how often."""
        words = (self.namespace, self.checked.name, self.old, self.new, f"{self.since:.0f}")
        return uuid.uuid5(uuid.NAMESPACE_URL, "/".join((EVENT, *words)))

    @property
    def new(self) -> str:
        """The state that it is in."""
        return str(self.checked.state)

    @property
    def resource(self) -> dict[str, str]:
        """What the event is about, as Prefect takes it."""
        name = self.checked.name.strip("()")
        return {
            "prefect.resource.id": f"{RESOURCE}.{self.namespace}.{name}",
            "prefect.resource.name": self.checked.name,
            "vllm-flows.model": self.checked.name,
            "vllm-flows.namespace": self.namespace,
            "vllm-flows.health": self.new,
        }

    @property
    def payload(self) -> dict[str, Any]:
        """What the event tells; `next` is the command for the worst of it."""
        found = self.checked.findings
        return {
            "model": self.checked.name,
            "namespace": self.namespace,
            "old": self.old,
            "new": self.new,
            "findings": [
                {
                    "kind": str(one.kind),
                    "what": redacted(one.text),
                    "next": redacted(one.next_for(self.checked.name)),
                }
                for one in found[:_SHOWN]
            ],
            "next": redacted(found[0].next_for(self.checked.name)) if found else "",
        }

    @property
    def event(self) -> dict[str, Any]:
        """The event as Prefect's API takes it, but for the moment it is sent at."""
        return {
            "id": str(self.id),
            "event": EVENT,
            "resource": self.resource,
            "payload": self.payload,
        }


def summary(told: Sequence[Change]) -> dict[str, Any]:
    """Return one event for all changes of a check, so that people get one message of an incident.

    As Prefect's API takes it, but for the moment it is sent at; of the same changes it is the same.
    """
    namespace = told[0].namespace
    lines = [f"{one.checked.name}: {one.old} -> {one.new}{_why(one)}" for one in told[:_LINES]]
    if len(told) > _LINES:
        lines.append(f"and {len(told) - _LINES} more")
    counts = Counter(one.new for one in told)
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(sorted(str(one.id) for one in told)))),
        "event": SUMMARY,
        "resource": {
            "prefect.resource.id": f"{SUMMARY_RESOURCE}.{namespace}",
            "vllm-flows.namespace": namespace,
        },
        "payload": {
            "namespace": namespace,
            "summary": ", ".join(f"{number} now {state}" for state, number in counts.items()),
            "text": "\n".join(lines),
        },
    }


def _why(change: Change) -> str:
    found = change.payload["findings"]
    return f" ({found[0]['what']}; next: {found[0]['next']})" if found else ""


def changes(
    checked: Iterable[Checked], memories: Mapping[str, Memory], namespace: str
) -> list[Change]:
    """Return what is to be told; `memories` know the outcome of this check already.

    What could not be measured is no other state: neither it nor its end is told. A model that is
    well when it is seen for the first time is no news.
    """
    found = []
    for one in checked:
        memory = memories.get(key_of(one.name), NOTHING)
        old = memory.told or "unknown"
        quiet = one.state is State.INCONCLUSIVE or (not memory.told and one.state is State.GREEN)
        if not quiet and memory.told != one.state:
            found.append(Change(one, namespace, old, memory.since))
    return found


def with_told(memories: Mapping[str, Memory], told: Iterable[Change]) -> dict[str, Memory]:
    """Return what is remembered once these were told, and what was well from the beginning."""
    found = {
        key: replace(one, told=one.state) if not one.told and one.state == State.GREEN else one
        for key, one in memories.items()
    }
    for change in told:
        key = key_of(change.checked.name)
        found[key] = replace(found[key], told=change.new)
    return found


def key_of(name: str) -> str:
    """Return the name under which a ConfigMap can remember it: `(hub)` as `_hub`."""
    return f"_{name.strip('()')}" if name.startswith("(") else name
