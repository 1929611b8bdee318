"""What a weights Job is doing, from the Job, its pods and its log. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_flows.observed import JOB_DIGEST_ANNOTATION
from vllm_flows.sizes import human_bytes
from vllm_flows.weights_job import AGAIN, PERMANENT
from vllm_flows.weights_manifests import hosts_of
from vllm_flows.weights_order import MORE_ROOM

Object = Mapping[str, Any]

_PROGRESS = re.compile(r"(progress|checking) (?P<done>\d+) (?P<total>\d+)")


@dataclass(frozen=True)
class WeightsJobState:
    """`running`, `complete` or `failed`, with a text for people and the bytes present so far.

    `node` is where the newest pod is; `checking`: it reads what an earlier one left. `commits` are
    those that the program found complete on the volume at its end, none when it left no word;
    `freed` are the bytes that it removed when that was all its work.
    `setbacks` are worth a line each, once.
    """

    phase: str
    text: str
    done: int = 0
    total: int = 0
    node: str = ""
    checking: bool = False
    commits: tuple[str, ...] = ()
    freed: int = 0
    setbacks: tuple[str, ...] = ()
    idle: bool = False

    @property
    def lacks_room(self) -> bool:
        """Say whether the Job gave up because the volume has no room beside what it is to keep."""
        return self.phase == "failed" and MORE_ROOM in self.text


def job_state(job: Object, pods: Sequence[Object], log: str) -> WeightsJobState:
    """Name what the Job is doing now; `log` is the tail of its newest pod's output."""
    conditions = {
        condition["type"]: condition
        for condition in job.get("status", {}).get("conditions") or []
        if condition["status"] == "True"
    }
    newest = newest_pod(pods)
    if "Complete" in conditions:
        word = _last_message(newest) if newest else {}
        return WeightsJobState(
            "complete",
            "weights complete",
            commits=tuple(word.get("complete", ())),
            freed=word.get("freed", 0),
            setbacks=_fetched_again(log),
        )
    if "Failed" in conditions:
        text = _failure(conditions["Failed"], newest, log)
        return WeightsJobState("failed", text, setbacks=_fetched_again(log))
    if newest is not None and _has_failed(newest):
        final = "FailureTarget" in conditions
        return _failed_attempt(job, pods, newest, log, final=final)
    return _running(newest, log)


def may_adopt(job: Object, pods: Sequence[Object], wanted: Object) -> bool:
    """Say whether a Job that is there does (or did) what is wanted, and where it can get on.

    One that runs something else (another image, another Hub), as another user or for another
    claim of that name would repeat what somebody has just put right, and so may one without a
    pod. One that is kept to other hosts may wait for a node for ever; one that runs loses time
    when it starts anew.
    """
    metadata = job["metadata"]
    same = (
        metadata["name"] == wanted["metadata"]["name"]
        and _digest(job) == _digest(wanted)
        and not metadata.get("deletionTimestamp")
    )
    phase = job_state(job, [], "").phase
    if not same or phase != "running":
        return same and phase == "complete"
    hosts = hosts_of(wanted)
    waits = hosts_of(job) == hosts and not at_rest(pods)
    return waits or _gets_on(newest_pod(pods), hosts)


def _gets_on(pod: Object | None, hosts: Collection[str]) -> bool:
    """Say whether a pod has one of the hosts, or is at work on another node.

    Kubernetes takes a pod's Ready from it when its node is gone. Without `hosts` any will do.
    """
    if pod is None or _has_failed(pod) or pod["metadata"].get("deletionTimestamp"):
        return False
    node = pod["spec"].get("nodeName")
    at_work = any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions") or []
    )
    return bool(node) and (not hosts or node in hosts or at_work)


def _digest(job: Object) -> object:
    return (job["metadata"].get("annotations") or {}).get(JOB_DIGEST_ANNOTATION)


def newest_pod(pods: Sequence[Object]) -> Object | None:
    """Return the pod of the Job's latest attempt, or None before the first."""
    return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)


def progress(log: str) -> tuple[int, int] | None:
    """Return bytes done and to do from the last line that tells them, if there is one."""
    for line in reversed(log.splitlines()):
        found = _PROGRESS.fullmatch(line.strip())
        if found:
            return int(found["done"]), int(found["total"])
    return None


def _checks(log: str) -> bool:
    """Say whether the program is reading again what an earlier attempt left on the volume."""
    found = [line.split()[0] for line in log.splitlines() if _PROGRESS.fullmatch(line.strip())]
    return bool(found) and found[-1] == "checking"


def _running(pod: Object | None, log: str) -> WeightsJobState:
    found = progress(log)
    if pod is None or not (found or _has_started(pod)):
        return WeightsJobState("running", "waiting for the weights pod", idle=True)
    if found is None:
        return WeightsJobState("running", "the weights pod is starting")
    done, total = found
    checks = _checks(log)
    text = f"{'checking' if checks else 'fetching'} {human_bytes(total)}"
    node = pod["spec"].get("nodeName", "")
    setbacks = _fetched_again(log)
    return WeightsJobState("running", text, done, total, node, checks, setbacks=setbacks)


def _has_started(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return any("waiting" not in (status.get("state") or {}) for status in statuses)


def at_rest(pods: Sequence[Object]) -> bool:
    """Say whether the Job has no pod now: none yet, or the newest has failed."""
    newest = newest_pod(pods)
    return newest is None or _has_failed(newest)


def _fetched_again(log: str) -> tuple[str, ...]:
    """Say which files came damaged."""
    lines = (line.partition(" ") for line in log.splitlines())
    return tuple(
        f"{name}: what came has not the hash that the Hub lists; fetched again"
        for verb, _, name in lines
        if verb == AGAIN
    )


def _failed_attempt(
    job: Object, pods: Sequence[Object], pod: Object, log: str, *, final: bool
) -> WeightsJobState:
    """Say why the newest attempt failed; `final`: Kubernetes has decided that it was the last."""
    count = sum(map(_has_failed, pods))
    done, total = progress(log) or (0, 0)
    text = f"attempt {count} failed ({_last_words(pod, log) or f'exit code {_exit_code(pod)}'})"
    final = final or count > job.get("spec", {}).get("backoffLimit", count)
    if not final and _exit_code(pod) != PERMANENT:
        text += "; trying again"
    setbacks = (*_fetched_again(log), text)
    return WeightsJobState("running", text, done, total, setbacks=setbacks, idle=True)


def _has_failed(pod: Object) -> bool:
    return pod.get("status", {}).get("phase") == "Failed" or bool(_exit_code(pod))


def _ended(pod: Object) -> Object:
    """Return how the pod's container ended, nothing while it runs."""
    for status in pod.get("status", {}).get("containerStatuses") or []:
        ended: Object | None = status.get("state", {}).get("terminated")
        if ended:
            return ended
    return {}


def _exit_code(pod: Object) -> int:
    return int(_ended(pod).get("exitCode", 0))


def _last_message(pod: Object) -> Object:
    """Return the program's termination message, empty when it left none."""
    try:
        found = json.loads(_ended(pod).get("message") or "")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _program_error(pod: Object) -> str | None:
    """Return the `error` of the program's termination message, None when it left none."""
    error = _last_message(pod).get("error")
    return None if error is None else str(error)


def _last_words(pod: Object, log: str) -> str:
    """Say why a pod failed: the program's error, else Kubernetes' reason, else the log's end.

    Empty when nothing says it.
    """
    status, ended = pod.get("status", {}), _ended(pod)
    error = _program_error(pod)
    if error:
        return error
    if ended.get("reason", "Error") != "Error":  # OOMKilled, StartError
        return ": ".join(filter(None, (ended["reason"], ended.get("message"))))
    if status.get("message") or status.get("reason"):  # Evicted
        return str(status.get("message") or status["reason"])
    lines = [line for line in log.splitlines() if line.strip() and progress(line) is None]
    return lines[-1][:500] if lines else ""


def _failure(condition: Object, pod: Object | None, log: str) -> str:
    """Prefer the program's own last word to Kubernetes' count of attempts."""
    why = (pod and _program_error(pod)) or ""
    if pod and condition.get("reason") != "DeadlineExceeded":
        why = why or _last_words(pod, log)
    return why or str(condition.get("message") or condition.get("reason"))
