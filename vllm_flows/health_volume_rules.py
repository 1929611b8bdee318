"""What the Jobs told of the volumes, read and judged. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.health import Finding, Kind
from vllm_flows.model_problems import printable
from vllm_flows.observed import WeightsClaim
from vllm_flows.quantities import parse_quantity
from vllm_flows.sizes import human_bytes
from vllm_flows.weights_inspection import LINE

Object = Mapping[str, Any]

_FULL, _FILLING = 0.98, 0.9
_OWN_DISK = 1.5
"""A file system that is no larger, beside the claim, is the volume's own; others share theirs."""
_SHOWN = 120
_STUCK = {"ImagePullBackOff", "ErrImagePull", "CreateContainerConfigError", "InvalidImageName"}


@dataclass(frozen=True)
class Volume:
    """What one volume is like; sizes in bytes, those of the file system in `total` and `free`.

    `broken` says of the first few files what is wrong with them, `count` of how many it is;
    `error` why it could not be read.
    """

    model: str
    used: int = 0
    total: int = 0
    free: int = 0
    broken: tuple[str, ...] = ()
    count: int = 0
    error: str = ""


def volumes_in(log: str) -> list[Volume]:
    """Read a Job's log; lines that are no such thing tell nothing."""
    lines = (line.removeprefix(LINE) for line in log.splitlines() if line.startswith(LINE))
    return [found for found in map(_volume, lines) if found]


def _volume(line: str) -> Volume | None:
    try:
        told = json.loads(line)
        if told["error"]:
            return Volume(str(told["model"]), error=printable(str(told["error"]), _SHOWN))
        broken = tuple(printable(f"{one['file']} {one['how']}", _SHOWN) for one in told["broken"])
        used, total, free = (int(told[key]) for key in ("used", "total", "free"))
        return Volume(str(told["model"]), used, total, free, broken, int(told["count"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def judge_volume(volume: Volume, claim: WeightsClaim) -> list[Finding]:
    """Judge one volume; `claim` is the one that it is bound to."""
    if volume.error:
        return [Finding(Kind.NOT_MEASURED, "its volume could not be read", volume.error)]
    found = []
    if volume.count:
        many = f"{volume.count} file{'s' if volume.count > 1 else ''} on its volume"
        found.append(Finding(Kind.WEIGHTS, f"{many} not as fetched", "; ".join(volume.broken)))
    share = _share(volume, _capacity(claim))
    if share >= _FILLING:
        kind = Kind.VOLUME_FULL if share >= _FULL else Kind.VOLUME_FILLING
        what = f"its volume is full to {share:.0%}, with {human_bytes(volume.used)} of weights"
        found.append(Finding(kind, what))
    return found


def _share(volume: Volume, capacity: int) -> float:
    """Return how full it is, from 0 to 1; other tenants of a disk that is shared do not count."""
    if 0 < volume.total <= capacity * _OWN_DISK:
        return 1 - volume.free / volume.total
    return volume.used / capacity if capacity else 0.0


def _capacity(claim: WeightsClaim) -> int:
    given = ((claim.manifest.get("status") or {}).get("capacity") or {}).get("storage")
    return int(parse_quantity(str(given or claim.size)))


def has_ended(job: Object) -> bool:
    """Say whether a Job is complete, or has failed."""
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(
        one["type"] in {"Complete", "Failed"} and one["status"] == "True" for one in conditions
    )


def why_stuck(pods: Iterable[Object], *, patient: bool) -> str:
    """Say why a Job's pod does not run, "" while it may still; not `patient`: it is given up."""
    why = "" if patient else "its pod does not start"
    for pod in pods:
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or []:
            state = container.get("state") or {}
            waiting = state.get("waiting") or {}
            if waiting.get("reason") in _STUCK:
                return f"{waiting['reason']}: {waiting.get('message', '')}"
            if not waiting:
                why = ""
        if status.get("phase") == "Failed" and not status.get("containerStatuses"):
            return str(status.get("message") or status.get("reason") or "its pod failed")
    return why
