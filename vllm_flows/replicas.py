"""Which pods answer now. Pure; pods in, names and addresses out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.observed import API_KEY_ANNOTATION


@dataclass(frozen=True)
class Replica:
    """A ready pod and its IP address (empty while it has none); `key_mark` is its annotation.

    `ready_since` is in the words of Kubernetes, "" where it does not say.
    """

    pod: str
    ip: str
    key_mark: str = ""
    ready_since: str = ""

    @property
    def host(self) -> str:
        """The address as it stands in a URL."""
        return f"[{self.ip}]" if ":" in self.ip else self.ip


def ready_replicas(pods: Iterable[Mapping[str, Any]]) -> list[Replica]:
    """Return the pods that are ready and are not being deleted."""
    found = ((pod, _ready(pod)) for pod in pods)
    return [_replica(pod, ready) for pod, ready in found if ready]


def _replica(pod: Mapping[str, Any], ready: Mapping[str, Any]) -> Replica:
    mark = (pod["metadata"].get("annotations") or {}).get(API_KEY_ANNOTATION) or ""
    return Replica(
        str(pod["metadata"]["name"]),
        str(pod["status"].get("podIP") or ""),
        str(mark),
        str(ready.get("lastTransitionTime") or ""),
    )


def _ready(pod: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the condition that says that the pod is ready; None where it is not, or ends."""
    if pod["metadata"].get("deletionTimestamp"):
        return None
    conditions = pod.get("status", {}).get("conditions") or []
    ready = (one for one in conditions if one["type"] == "Ready" and one["status"] == "True")
    return next(ready, None)
