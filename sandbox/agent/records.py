"""What is known of one container, in the words of the API's container status. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]

KILLED = 137
"""Exit code of a process that SIGKILL ended."""


def timestamp(moment: datetime | None = None) -> str:
    """Return a moment, by default this one, as the API writes it."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def waiting(reason: str, message: str = "") -> Object:
    """Return the state of a container that does not run yet or again."""
    return {"waiting": {"reason": reason} | ({"message": message} if message else {})}


def running(started: str) -> Object:
    """Return the state of a running container."""
    return {"running": {"startedAt": started}}


def terminated(
    exit_code: int, *, started: str = "", reason: str = "", message: str = "", identifier: str = ""
) -> Object:
    """Return the state of a container that ended; the reason follows from the code."""
    state = {
        "exitCode": exit_code,
        "reason": reason or ("Error" if exit_code else "Completed"),
        "startedAt": started or timestamp(),
        "finishedAt": timestamp(),
    }
    if message:
        state["message"] = message
    if identifier:
        state["containerID"] = identifier
    return {"terminated": state}


@dataclass
class Record:
    """The status of one container."""

    name: str
    image: str
    init: bool = False
    state: Object = field(default_factory=lambda: waiting("ContainerCreating"))
    last_state: Object = field(default_factory=dict)
    restart_count: int = 0
    ready: bool = False
    started: bool = False
    identifier: str = ""

    @property
    def exit_code(self) -> int | None:
        """The exit code when the container ended and was not started again."""
        ended: Object = self.state.get("terminated", {})
        return ended.get("exitCode")

    @property
    def ran(self) -> bool:
        """Tell whether the container was ever started."""
        return "waiting" not in self.state or bool(self.last_state) or self.restart_count > 0

    def document(self) -> Object:
        """Return the API's containerStatus."""
        return {
            "name": self.name,
            "image": self.image,
            "imageID": f"sandbox://{self.image}" if self.identifier else "",
            "containerID": self.identifier,
            "state": self.state,
            "lastState": self.last_state,
            "restartCount": self.restart_count,
            "ready": self.ready,
            "started": self.started,
        }


def record_of(container: Object, status: Object | None, *, init: bool, reason: str) -> Record:
    """Return the record of a container, going on from a status that the API still has.

    `reason` is why it waits when it never ran.
    A container that ran under an agent that is gone was lost with it: it counts as killed.
    """
    record = Record(container["name"], container["image"], init=init)
    record.state = waiting(reason)
    if not status:
        return record
    record.restart_count = status.get("restartCount", 0)
    record.last_state = status.get("lastState") or {}
    state = status.get("state") or record.state
    if "running" in state:
        record.state = terminated(
            KILLED,
            started=state["running"].get("startedAt") or "",
            reason="ContainerStatusUnknown",
            message="The container could not be located when the pod was started again",
        )
    elif "terminated" in state:
        record.state = state
    return record
