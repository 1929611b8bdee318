"""Events as the Prefect server takes and keeps them.

`prefect.events.emit_event` hands an event to a thread that sends it some time later, and is silent
when it cannot. Here an event is sent when the call returns, or there is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from prefect.client.orchestration import get_client
from prefect.types._datetime import now

_PAGE = 50


def send_events(events: Sequence[dict[str, Any]]) -> None:
    """Send events that happen now. One that the server has had lately, by its id, is ignored."""
    moment = now("UTC").isoformat()
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[{**one, "occurred": moment} for one in events])


def known_events(ids: Collection[str]) -> set[str]:
    """Return which of these events the server has written down; it may take it some seconds."""
    found: set[str] = set()
    wanted = sorted(ids)
    with get_client(sync_client=True) as client:
        for begin in range(0, len(wanted), _PAGE):
            some = {"id": {"id": wanted[begin : begin + _PAGE]}}
            answer = client.request("POST", "/events/filter", json={"filter": some, "limit": _PAGE})
            found |= {one["id"] for one in answer.json()["events"]}
    return found
