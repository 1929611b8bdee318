"""What a weights Job is doing, from the Job, its pods and its log. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_flows.manifests import job_name
from vllm_flows.observed import Verdict
from vllm_flows.sizes import human_bytes

Object = Mapping[str, Any]


@dataclass(frozen=True)
class WeightsJobState:
    """`running`, `complete` or `failed`, with a text for people and the bytes present so far."""

    phase: str
    text: str
    done: int = 0
    total: int = 0


def job_state(job: Object, pods: Sequence[Object], log: str) -> WeightsJobState:
    """Name what the Job is doing now; `log` is the tail of its newest pod's output."""
    conditions = {
        condition["type"]: condition
        for condition in job.get("status", {}).get("conditions") or []
        if condition["status"] == "True"
    }
    if "Complete" in conditions:
        return WeightsJobState("complete", "weights complete")
    newest = newest_pod(pods)
    if "Failed" in conditions:
        return WeightsJobState("failed", _failure(conditions["Failed"], newest, log))
    return _running(newest, log)


def may_adopt(job: Object, claim: Object, verdict: Verdict) -> bool:
    """Say whether a Job that is there does (or did) just what is wanted, on this very claim.

    A Job older than the claim filled another volume of the same name.
    """
    metadata = job["metadata"]
    return bool(
        metadata["name"] == job_name(verdict.model, verdict.commit)
        and not metadata.get("deletionTimestamp")
        and metadata["creationTimestamp"] >= claim["metadata"]["creationTimestamp"]
        and job_state(job, [], "").phase != "failed"
    )


def newest_pod(pods: Sequence[Object]) -> Object | None:
    """Return the pod of the Job's latest attempt, or None before the first."""
    return max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)


def progress(log: str) -> tuple[int, int] | None:
    """Return bytes done and to do from the last `progress DONE TOTAL` line, if there is one."""
    for line in reversed(log.splitlines()):
        words = line.split()
        if len(words) == 3 and words[0] == "progress" and words[1].isdigit():  # noqa: PLR2004 -- the line's three words
            return int(words[1]), int(words[2])
    return None


def _running(pod: Object | None, log: str) -> WeightsJobState:
    if pod is None:
        return WeightsJobState("running", "waiting for the weights pod")
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            message = condition.get("message", "")
            return WeightsJobState("running", f"no node takes the weights pod: {message}")
    for status in pod.get("status", {}).get("containerStatuses") or []:
        waiting = status.get("state", {}).get("waiting")
        if waiting:
            reason = waiting.get("message") or waiting.get("reason", "")
            return WeightsJobState("running", f"the weights pod waits: {reason}")
    found = progress(log)
    if found is None:
        return WeightsJobState("running", "the weights pod is starting")
    done, total = found
    share = f"{100 * done // total} %" if total else "100 %"
    text = f"{share} of {human_bytes(total)} fetched ({human_bytes(done)})"
    return WeightsJobState("running", text, done, total)


def _failure(condition: Object, pod: Object | None, log: str) -> str:
    """Prefer the program's own last word to Kubernetes' count of attempts."""
    for status in (pod or {}).get("status", {}).get("containerStatuses") or []:
        ended = status.get("state", {}).get("terminated") or {}
        try:
            return str(json.loads(ended.get("message") or "")["error"])
        except (ValueError, KeyError, TypeError):
            continue
    lines = [line for line in log.splitlines() if line.strip()]
    if condition.get("reason") == "DeadlineExceeded" or not lines:
        return str(condition.get("message") or condition.get("reason"))
    return lines[-1][:500]
