"""Which logs there are of some pods, and how far each was read. Pure; pods in, sources out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_flows.replicas import ready_replicas

Object = Mapping[str, Any]

_OVER = {"Failed", "Succeeded"}
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)")
_DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True)
class Source:
    """The log of one container; `runs` are those that ended before the one of now.

    `running`: more will be written. `waits` is why nothing was written yet, empty when it was;
    `ended` how the run before this one ended, empty when there was none.
    """

    pod: str
    container: str
    runs: int = 0
    running: bool = True
    waits: str = ""
    ended: str = ""


def sources(pods: Sequence[Object], *, newest_only: bool = False) -> list[Source]:
    """Return the log of each pod, the oldest first; of ended pods only where no other is left.

    `newest_only`: of the newest pod that is ready, the newest of all when none is.
    """
    ordered = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    live = [pod for pod in ordered if pod.get("status", {}).get("phase") not in _OVER]
    chosen = live or ordered[-1:]
    if newest_only:
        ready = {replica.pod for replica in ready_replicas(chosen)}
        chosen = ([pod for pod in chosen if pod["metadata"]["name"] in ready] or chosen)[-1:]
    return [_source(pod) for pod in chosen]


def _source(pod: Object) -> Source:
    status = pod.get("status", {})
    known = {
        one["name"]: one
        for one in [
            *(status.get("initContainerStatuses") or []),
            *(status.get("containerStatuses") or []),
        ]
    }
    container = _container(pod, known)
    found = known.get(container, {})
    state, runs = found.get("state") or {}, int(found.get("restartCount", 0))
    started = bool("running" in state or "terminated" in state or runs)
    return Source(
        pod=str(pod["metadata"]["name"]),
        container=container,
        runs=runs,
        running="running" in state,
        waits="" if started else _waits(pod, state),
        ended=_ended(found),
    )


def _container(pod: Object, known: Mapping[str, Object]) -> str:
    """Name the container that tells most: an init container that has not done its work, else it."""
    spec = pod["spec"]
    for one in spec.get("initContainers") or []:
        state = known.get(one["name"], {}).get("state") or {}
        done = state.get("terminated", {}).get("exitCode") == 0
        sidecar = one.get("restartPolicy") == "Always"
        if state and not done and not sidecar:
            return str(one["name"])
    annotations = pod["metadata"].get("annotations") or {}
    names = [str(one["name"]) for one in spec["containers"]]
    wanted = str(annotations.get(_DEFAULT_CONTAINER, ""))
    return wanted if wanted in names else names[0]


def _waits(pod: Object, state: Object) -> str:
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node takes it: {condition.get('message', '')}".rstrip(": ")
    waiting = state.get("waiting") or {}
    words = [str(waiting[key]) for key in ("reason", "message") if waiting.get(key)]
    return ": ".join(words) or "it has not started"


def _ended(found: Object) -> str:
    last = (found.get("lastState") or {}).get("terminated")
    if not last:
        return ""
    return f"exit code {last.get('exitCode')}, {last.get('reason', '')}".rstrip(", ")


@dataclass
class Position:
    """How far a log was read: the stamp of the last line, and how many lines in a row had it."""

    stamp: bytes = b""
    count: int = 0

    def after(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """Yield, without their time stamps, the lines that were not read before; go on there.

        What is read again begins at an earlier line or at the same.
        """
        last, again, reread = self.stamp, self.count, bool(self.stamp)
        for line in lines:
            stamp, _, text = line.partition(b" ")
            if not _STAMP.fullmatch(stamp):
                yield line
                continue
            if reread and stamp < last:
                continue
            if reread and stamp == last and again:
                again -= 1
                continue
            reread = reread and stamp == last
            self._pass(stamp)
            yield text

    def _pass(self, stamp: bytes) -> None:
        self.count = self.count + 1 if stamp == self.stamp else 1
        self.stamp = stamp
