"""What a pod's containers are at, from its status, its events and its log. Pure.

The reasons and messages are those of kubernetes/pkg/kubelet, in 1.20 to 1.36.
"""

from __future__ import annotations

import re

from vllm_flows.diagnosis_categories import (
    SETTLED_SECONDS,
    Category,
    Diagnosis,
    Object,
    Place,
)
from vllm_flows.diagnosis_crashes import (
    CRASHES_THAT_TELL,
    PodEvidence,
    crash,
    last_end,
    messages,
)
from vllm_flows.diagnosis_logs import cause, doing

_IMAGE_REASONS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
}
_IMAGE_IS_GONE = re.compile(
    r"not found|manifest unknown|unauthorized|authentication required|pull access denied"
    r"|access forbidden|403 Forbidden|401 Unauthorized|denied: |does not exist"
    r"|no match for platform|invalid reference format",
    re.IGNORECASE,
)
_CANNOT_START = {
    "CreateContainerError",
    "RunContainerError",
    "ConfigPodSandboxError",
    "PreCreateHookError",
    "PreStartHookError",
    "PostStartHookError",
}
_STILL_AT_IT = re.compile(
    r"context deadline exceeded|DeadlineExceeded|name (\"[^\"]+\" )?is reserved"
)
"""The kubelet gives up on a request after `runtimeRequestTimeout` (two minutes) and asks again.
While the runtime is still at the first one, it refuses the name: containerd
internal/cri/server/container_create.go and internal/registrar, cri-o internal/registrar."""
_REFERENCE = re.compile(r"(secret|configmap) .*not found|couldn't find key|non-existent config key")


def pull_fails(status: Object) -> bool:
    """Say whether a container waits because its image could not be had."""
    waiting = (status.get("state") or {}).get("waiting") or {}
    return waiting.get("reason") in _IMAGE_REASONS


def container(place: Place, status: Object, evidence: PodEvidence) -> Diagnosis | None:
    """Return what keeps one container from running, None when nothing does."""
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _IMAGE_REASONS:
        return _image(place, status, reason, message, evidence)
    if reason == "CreateContainerConfigError":
        return _configuration(place, message or reason)
    if reason in _CANNOT_START:
        return _not_started(place, message or reason, status)
    ended = last_end(status)
    if ended is None:
        return None
    return crash(place, status, ended, evidence)


def _image(
    place: Place, status: Object, reason: str, message: str, evidence: PodEvidence
) -> Diagnosis:
    """Say why there is no image: a registry is believed at its second no, its silence may pass."""
    words = " ".join([message, *messages(evidence.events, "Failed")])
    tries = sum(
        event.get("count") or 1
        for event in evidence.events
        if event.get("reason") == "Failed" and "Failed to pull image" in event.get("message", "")
    )
    again = reason == "ImagePullBackOff" or tries > 1
    never = reason in {"InvalidImageName", "ErrImageNeverPull"}
    definite = never or (again and bool(_IMAGE_IS_GONE.search(words)))
    image = status.get("image") or "the image"
    detail = message if _IMAGE_IS_GONE.search(message) else words
    summary = f"the image cannot be pulled: {image}"
    return place.diagnosis(Category.IMAGE, summary, detail, definite=definite)


def _configuration(place: Place, message: str) -> Diagnosis:
    """Say what a container is to be made from and is not there; somebody may yet make it."""
    category, summary = Category.CONTAINER, "the container cannot be made"
    if _REFERENCE.search(message):
        category, summary = Category.REFERENCE_MISSING, "a Secret or ConfigMap is missing"
    return place.diagnosis(
        category, f"{summary}: {message}", message, settles_after=SETTLED_SECONDS
    )


def _not_started(place: Place, message: str, status: Object) -> Diagnosis:
    found = cause(message)
    category = found.category if found else Category.CONTAINER
    summary = found.summary if found else "the node cannot start the container"
    if _STILL_AT_IT.search(message):
        return place.diagnosis(category, summary, message)
    definite = status.get("restartCount", 0) >= CRASHES_THAT_TELL
    return place.diagnosis(
        category, summary, message, definite=definite, settles_after=SETTLED_SECONDS
    )


def creating(place: Place, evidence: PodEvidence) -> Diagnosis:
    """Return what a pod waits for whose containers are not made yet."""
    pulling, pulled = (messages(evidence.events, reason) for reason in ("Pulling", "Pulled"))
    if not pulling and not pulled:  # volumes and sandbox come before the image
        found = _attach(place, evidence) or _mount(place, evidence) or _sandbox(place, evidence)
        if found:
            return found
    text = "pulling the image" if len(pulling) > len(pulled) else "the container is being made"
    return place.diagnosis(Category.LOADING, text, " ".join(pulling))


def _attach(place: Place, evidence: PodEvidence) -> Diagnosis | None:
    for message in messages(evidence.events, "FailedAttachVolume"):
        if "Multi-Attach" in message:
            summary = f"its volume is in use on {evidence.held or 'another node'}"
            settles = SETTLED_SECONDS if evidence.held else None
            return place.diagnosis(
                Category.CLAIM_ELSEWHERE, summary, message, settles_after=settles
            )
    return None


def _mount(place: Place, evidence: PodEvidence) -> Diagnosis | None:
    failed = messages(evidence.events, "FailedMount")
    for message in failed:
        if _REFERENCE.search(message):
            return _configuration(place, message)
    if failed:
        return place.diagnosis(Category.VOLUME, "a volume cannot be mounted", failed[-1])
    return None


def _sandbox(place: Place, evidence: PodEvidence) -> Diagnosis | None:
    failed = messages(evidence.events, "FailedCreatePodSandBox")
    for message in failed:
        if "no runtime for" in message:
            summary = "the node does not have the RuntimeClass's runtime"
            return place.diagnosis(
                Category.RUNTIME_CLASS, summary, message, settles_after=SETTLED_SECONDS
            )
    if failed:
        return place.diagnosis(Category.CONTAINER, "the node cannot make the pod", failed[-1])
    return None


def loading(place: Place, status: Object, evidence: PodEvidence, *, engine: bool) -> Diagnosis:
    """Return what a container that runs and is not ready is doing, by its log's last lines."""
    default = "the engine is starting and loading weights" if engine else "starting"
    if status.get("started") and engine:
        default = "the engine runs and does not answer its readiness probe yet"
    text = doing(evidence.log) or default
    restarts = status.get("restartCount", 0)
    ended = last_end(status)
    before = f"it ended before with exit code {ended.get('exitCode')}" if ended else ""
    text += f" (after {restarts} restarts)" if restarts else ""
    return place.diagnosis(Category.LOADING, text, before)
