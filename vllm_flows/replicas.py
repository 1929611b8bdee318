"""Which pods answer now. Pure; pods in, names and addresses out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.observed import API_KEY_ANNOTATION


@dataclass(frozen=True)
class Replica:
    """A ready pod and its IP address (empty while it has none); `key_mark` is its annotation."""

    pod: str
    ip: str
    key_mark: str = ""

    @property
    def host(self) -> str:
        """The address as it stands in a URL."""
        return f"[{self.ip}]" if ":" in self.ip else self.ip


def ready_replicas(pods: Iterable[Mapping[str, Any]]) -> list[Replica]:
    """Return the pods that are ready and are not being deleted."""
    return [_replica(pod) for pod in pods if _is_ready(pod)]


def _replica(pod: Mapping[str, Any]) -> Replica:
    mark = (pod["metadata"].get("annotations") or {}).get(API_KEY_ANNOTATION) or ""
    return Replica(str(pod["metadata"]["name"]), str(pod["status"].get("podIP") or ""), str(mark))


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")
