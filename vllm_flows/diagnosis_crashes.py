"""Why a container ended, and whether its next run can end otherwise. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vllm_flows.diagnosis_categories import Category, Diagnosis, Object, Place
from vllm_flows.diagnosis_logs import cause, last_words

_BY_CODE = {
    # argparse's code, and so vLLM's, for arguments it does not know or values it does not take
    2: (Category.ENGINE_ARGUMENT, "the engine does not take its arguments"),
    # 128 + SIGKILL: the kernel's end of a process that is not the container's first
    137: (Category.HOST_MEMORY, "the container was killed, most likely for memory"),
}
_UNKNOWN = (Category.CRASH_LOOP, "the container ends again and again")
CRASHES_THAT_TELL = 3
_AT_ONCE = {
    Category.ENGINE_ARGUMENT,
    Category.CONTEXT_TOO_LONG,
    Category.TENSOR_PARALLEL,
    Category.UNSUPPORTED_MODEL,
    Category.CODE_NOT_TRUSTED,
    Category.ENGINE_CONFIGURATION,
    Category.WEIGHTS_MISSING,
    Category.WEIGHTS_BROKEN,
    Category.KV_CACHE,
    Category.GPU_MEMORY,
}
"""What the next start meets again."""
_ON_THE_VOLUME = {Category.WEIGHTS_MISSING, Category.WEIGHTS_BROKEN}
_AT_THE_SECOND = {Category.HOST_MEMORY, Category.PROBE_KILL, Category.GPU_IN_USE}
"""What the next start may not meet: the process that held the GPU's memory may just have ended."""
_PROBE_KILL = re.compile(r"failed (?P<kind>startup|liveness) probe")


@dataclass(frozen=True)
class PodEvidence:
    """What was asked about one pod beside its status; all of it may be missing.

    `log` is the end of what the container says, or said last; `previous` that of the run before.
    `crashed_now`: it crashed while we watched, so the end of that run is news. `filled`: when the
    model's weights last arrived on its volume, as the API writes moments. `held`: another pod of
    the Deployment stays on another node with the same claim, and says which and where.
    """

    events: Sequence[Object] = ()
    log: str = ""
    previous: str = ""
    crashed_now: bool = False
    filled: str = ""
    held: str = ""


def statuses_of(pod: Object) -> list[Object]:
    """Return the statuses of a pod's containers, first those init containers that are not over."""
    status = pod.get("status", {})
    init = [
        each
        for each in status.get("initContainerStatuses") or ()
        if (each.get("state") or {}).get("terminated", {}).get("exitCode") != 0
    ]
    return [*init, *(status.get("containerStatuses") or ())]


def last_end(status: Object) -> Object | None:
    """Return how a container last ended, None when it never did."""
    for state in (status.get("state") or {}, status.get("lastState") or {}):
        ended: Object | None = state.get("terminated")
        if ended:
            return ended
    return None


def runs_ended(pod: Object) -> int:
    """Return how many runs of a pod's containers came to an end, also the last one of each."""
    return sum(
        status.get("restartCount", 0) + (last_end(status) is not None and not is_running(status))
        for status in statuses_of(pod)
    )


def is_running(status: Object) -> bool:
    """Say whether a container runs now."""
    return "running" in (status.get("state") or {})


def crash(place: Place, status: Object, ended: Object, evidence: PodEvidence) -> Diagnosis | None:
    """Return why a container ended; None when it runs again and nothing speaks against it."""
    log = evidence.previous if is_running(status) else evidence.log
    category, summary, words = _reason(ended, log, evidence.events)
    restarts, code = status.get("restartCount", 0), ended.get("exitCode")
    detail = f"the container ended with exit code {code} ({restarts} restarts): {words}"
    mended = category in _ON_THE_VOLUME and ended.get("finishedAt", "") <= evidence.filled
    if is_running(status):
        definite = category in _AT_ONCE and evidence.crashed_now and not mended
        if not definite:
            return None
    elif mended:
        definite, detail = False, f"{detail}; the volume was filled since then"
    else:
        definite = _is_definite(category, status, restarts)
    return place.diagnosis(category, summary, detail.rstrip(": "), definite=definite)


def _is_definite(category: Category, status: Object, restarts: int) -> bool:
    waiting = (status.get("state") or {}).get("waiting") or {}
    backs_off = waiting.get("reason") == "CrashLoopBackOff"
    if category in _AT_ONCE:
        return True
    if category in _AT_THE_SECOND:
        return backs_off or restarts > 0
    if category is Category.NODE_LOST:
        return False
    # The first start after a crash is not held back: in the second pause, it crashed three times.
    return restarts >= CRASHES_THAT_TELL or (backs_off and restarts >= CRASHES_THAT_TELL - 1)


def _reason(ended: Object, log: str, events: Sequence[Object]) -> tuple[Category, str, str]:
    """Return category, summary and last words of a container's end."""
    message = ended.get("message") or ""
    words = message or last_words(log)
    if ended.get("reason") == "OOMKilled":
        return (
            Category.HOST_MEMORY,
            "the container was killed: too much memory",
            words,
        )
    found = cause(log) or cause(message)
    if found:
        return found.category, found.summary, found.words
    killed = next(_probe_kills(events), None)
    if killed:
        return Category.PROBE_KILL, f"its {killed} probe ended the container while it loaded", words
    if ended.get("reason") == "ContainerStatusUnknown":
        return Category.NODE_LOST, "the node lost the container", words
    category, summary = _BY_CODE.get(ended.get("exitCode", 0), _UNKNOWN)
    return category, summary, words


def _probe_kills(events: Sequence[Object]) -> Iterator[str]:
    """Yield the kind of each probe for which the kubelet ended a container.

    "Startup probe failed" alone proves nothing: every engine that loads has such events.
    """
    for message in messages(events, "Killing"):
        found = _PROBE_KILL.search(message)
        if found:
            yield found["kind"]


def messages(events: Sequence[Object], reason: str) -> list[str]:
    """Return the messages of the events that have this reason, in the API's order."""
    return [event.get("message", "") for event in events if event.get("reason") == reason]
