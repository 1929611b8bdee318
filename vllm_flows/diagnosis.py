"""Why a Deployment's pods are not ready, in one line. Pure: objects in, a diagnosis out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

_BAD_ARGUMENTS = 2
"""vLLM's exit code for arguments it does not know or values it does not take."""
_CRASHES_THAT_TELL = 3
_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff"}


@dataclass(frozen=True)
class Diagnosis:
    """What keeps a pod from being ready.

    `category` is a stable word; `definite` says that waiting cannot help; `pod` is the one to
    look at, empty when there is none.
    """

    category: str
    summary: str
    next_command: str
    definite: bool = False
    pod: str = ""


def rollout_complete(deployment: Object) -> bool:
    """Say whether all replicas run the newest template, are ready, and no old pod is left."""
    status = deployment.get("status", {})
    wanted = deployment["spec"].get("replicas", 1)
    return bool(
        _is_observed(deployment)
        and status.get("updatedReplicas", 0) == wanted
        and status.get("readyReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
    )


def _is_observed(deployment: Object) -> bool:
    """Say whether the status is about the newest template."""
    observed = deployment.get("status", {}).get("observedGeneration", 0)
    return bool(observed >= deployment["metadata"].get("generation", 1))


def diagnose(deployment: Object, pods: Sequence[Object]) -> Diagnosis:
    """Return the most telling reason why the Deployment is not complete.

    Pods of an earlier template do not count: what was wrong with them may be mended.
    """
    namespace = deployment["metadata"]["namespace"]
    name = deployment["metadata"]["name"]
    waited_for = [pod for pod in pods if _is_newest(pod, deployment) and not _ready(pod)]
    found = [*_refusals(deployment), *(_pod(pod, namespace) for pod in waited_for)]
    if not found:
        return Diagnosis(
            "starting",
            "waiting for the rollout",
            f"kubectl -n {namespace} describe deployment {name}",
        )
    return min(found, key=lambda diagnosis: not diagnosis.definite)


def _refusals(deployment: Object) -> Iterator[Diagnosis]:
    """Yield why the API refuses to create pods at all: quota, Pod Security, RuntimeClass."""
    namespace = deployment["metadata"]["namespace"]
    if not _is_observed(deployment):
        return  # it speaks of the template before this one
    for condition in deployment.get("status", {}).get("conditions") or []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield Diagnosis(
                "refused",
                f"the cluster refuses the pod: {condition.get('message', '')}",
                f"kubectl -n {namespace} get events --sort-by=.lastTimestamp",
                definite=True,
            )


def _pod(pod: Object, namespace: str) -> Diagnosis:
    name = pod["metadata"]["name"]
    describe = f"kubectl -n {namespace} describe pod {name}"
    if not pod["spec"].get("nodeName"):
        return Diagnosis("unschedulable", _unscheduled(pod), describe, pod=name)
    for status in pod.get("status", {}).get("containerStatuses") or []:
        waiting = status.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _IMAGE_REASONS or reason == "InvalidImageName":
            definite = reason == "InvalidImageName"
            text = f"the image cannot be pulled: {message or status.get('image', '')}"
            return Diagnosis("image", text, describe, definite, name)
        if reason == "CreateContainerConfigError":
            return Diagnosis("configuration", message or reason, describe, pod=name)
        ended = _last_end(status)
        if ended and "running" not in status.get("state", {}):
            return _crash(name, namespace, status, ended)
    engine = "model" in (pod["metadata"].get("labels") or {})
    doing = "the engine is starting and loading weights" if engine else "starting"
    restarts = sum(
        status.get("restartCount", 0)
        for status in pod.get("status", {}).get("containerStatuses") or []
    )
    doing += f" (after {restarts} restarts)" if restarts else ""
    return Diagnosis("loading", doing, describe, pod=name)


def _is_newest(pod: Object, deployment: Object) -> bool:
    """Compare what our values write into a template, which differs whenever its pods would."""
    template = deployment["spec"]["template"]["metadata"].get("annotations") or {}
    annotations = pod["metadata"].get("annotations") or {}
    return all(annotations.get(key) == value for key, value in template.items())


def _unscheduled(pod: Object) -> str:
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node takes the pod: {condition.get('message', '')}"
    return "waiting for the scheduler"


def _last_end(status: Object) -> Object | None:
    for state in (status.get("state", {}), status.get("lastState", {})):
        ended: Object | None = state.get("terminated")
        if ended:
            return ended
    return None


def _crash(name: str, namespace: str, status: Object, ended: Object) -> Diagnosis:
    logs = f"kubectl -n {namespace} logs {name} --previous"
    restarts, code = status.get("restartCount", 0), ended.get("exitCode")
    if ended.get("reason") == "OOMKilled":
        text = f"the container was killed for memory ({restarts} restarts); raise requestMemory"
        return Diagnosis("memory", text, logs, restarts >= _CRASHES_THAT_TELL, name)
    definite = code == _BAD_ARGUMENTS or restarts >= _CRASHES_THAT_TELL
    text = f"the container ended with exit code {code} ({restarts} restarts)"
    return Diagnosis("crash", text, logs, definite, name)


def _ready(pod: Object) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return True  # on its way out: nothing of it is waited for
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions") or []
    )


def last_words(log: str) -> str:
    """Return the line of a log that says why the program ended: the last that names an error."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower()]
    return (telling or lines or [""])[-1][:500]
