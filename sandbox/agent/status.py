"""A pod's status from its containers' records, as a kubelet computes it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from sandbox.agent.records import Record

Object = dict[str, Any]
Policy = Literal["Always", "OnFailure", "Never"]
Phase = Literal["Pending", "Running", "Succeeded", "Failed"]


def restarts(policy: Policy, exit_code: int, *, init: bool) -> bool:
    """Tell whether a container that ended so is started again."""
    if policy == "Never":
        return False
    return exit_code != 0 or (policy == "Always" and not init)


def phase_of(policy: Policy, init: Sequence[Record], main: Sequence[Record]) -> Phase:
    """Return the pod's phase."""
    for record in init:
        if record.exit_code != 0:
            return "Failed" if record.exit_code and policy == "Never" else "Pending"
    if not all(record.ran for record in main):
        return "Pending"
    codes = [record.exit_code for record in main]
    ended = [code for code in codes if code is not None and not restarts(policy, code, init=False)]
    if len(ended) < len(main):
        return "Running"
    return "Failed" if any(ended) else "Succeeded"


def conditions_of(
    phase: Phase, init: Sequence[Record], main: Sequence[Record], before: Sequence[Object], now: str
) -> list[Object]:
    """Return the kubelet's conditions; an unchanged one keeps the time of its last change."""
    incomplete = [each.name for each in init if each.exit_code != 0]
    unready = [each.name for each in main if not each.ready]
    ready = _ready(phase, unready)
    conditions = [
        {"type": "PodReadyToStartContainers", "status": "True"},
        _initialized(phase, incomplete),
        {"type": "ContainersReady", **ready},
        {"type": "Ready", **ready},
    ]
    known = {each["type"]: each for each in before}
    return [_with_time(each, known.get(each["type"]), now) for each in conditions]


def status_of(
    policy: Policy,
    ip: str,
    init: Sequence[Record],
    main: Sequence[Record],
    before: Object,
    now: str,
) -> Object:
    """Return the part of the pod's status that a kubelet owns; `before` is its last one."""
    phase = phase_of(policy, init, main)
    status: Object = {
        "phase": phase,
        "conditions": conditions_of(phase, init, main, before.get("conditions") or [], now),
        "hostIP": "127.0.0.1",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": before.get("startTime") or now,
        "containerStatuses": [each.document() for each in main],
    }
    if init:
        status["initContainerStatuses"] = [each.document() for each in init]
    return status


def _ready(phase: Phase, unready: list[str]) -> Object:
    if phase in {"Succeeded", "Failed"}:
        return {
            "status": "False",
            "reason": "PodCompleted" if phase == "Succeeded" else "PodFailed",
        }
    if not unready:
        return {"status": "True"}
    names = " ".join(unready)
    return {
        "status": "False",
        "reason": "ContainersNotReady",
        "message": f"containers with unready status: [{names}]",
    }


def _initialized(phase: Phase, incomplete: list[str]) -> Object:
    if not incomplete:
        completed = {"reason": "PodCompleted"} if phase == "Succeeded" else {}
        return {"type": "Initialized", "status": "True", **completed}
    return {
        "type": "Initialized",
        "status": "False",
        "reason": "ContainersNotInitialized",
        "message": f"containers with incomplete status: [{' '.join(incomplete)}]",
    }


def _with_time(condition: Object, before: Object | None, now: str) -> Object:
    same = before is not None and before.get("status") == condition["status"]
    since = (before or {}).get("lastTransitionTime") if same else None
    # A merge keeps what a patch leaves out: an outdated reason is taken away by name.
    return {"reason": None, "message": None, **condition, "lastTransitionTime": since or now}
