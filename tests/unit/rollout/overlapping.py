"""A cluster with one Deployment, whose writes are noted: older pods beside new ones."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.support import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "vllm-q-deployment-vllm"
OLD_LABELS = {"model": "q", "environment": "test", "pod-template-hash": "old"}
LIMITS = {"maxSurge": 1, "maxUnavailable": 0}


def paused_with(limits: dict[str, int]) -> dict[str, Any]:
    return {"paused": True, "strategy": {"rollingUpdate": limits}}


PAUSED = paused_with(LIMITS)


def deployment(surge: object = 1, unavailable: object = 0, replicas: int = 1) -> dict[str, Any]:
    limits = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "metadata": {"name": NAME, "uid": "d", "generation": 2, "annotations": _template(2)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"model": "q", "newer": "label"}},
            "strategy": {"rollingUpdate": limits},
            "progressDeadlineSeconds": 1200,
        },
        "status": {
            "observedGeneration": 2,
            "replicas": 2 * replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
        },
    }


def _template(number: int) -> dict[str, str]:
    return {"deployment.kubernetes.io/revision": str(number)}


def container(state: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a pod whose container is in this state."""
    return {"status": {"containerStatuses": [{"state": state, **fields}]}}


class FakeCluster:
    """Stands for a cluster with one Deployment: notes what is written, in its order."""

    def __init__(self, **changes: Any) -> None:
        self.deployment: dict[str, Any] | None = deployment(**changes)
        self.sets = [self._set("old", 1), self._set("new", 2)]
        self.pod: Any = container({"running": {}}, started=True)
        self.looks_until_gone = 0
        self.paused_unseen = False
        self.leaving = ""
        self.done: list[str] = []

    @staticmethod
    def _set(name: str, template: int) -> dict[str, Any]:
        owner = {"uid": "d", "controller": True}
        return {
            "metadata": {
                "name": name,
                "annotations": _template(template),
                "ownerReferences": [owner],
            },
            "spec": {"replicas": 1, "selector": {"matchLabels": OLD_LABELS}},
        }

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        if kind == "Deployment":
            return self.deployment
        if kind == "Pod":
            if isinstance(self.pod, Exception):
                raise self.pod
            return self.pod  # type: ignore[no-any-return]  # as the test gave it
        return next((one for one in self.sets if one["metadata"]["name"] == name), None)

    def find(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        if kind == "ReplicaSet":
            self._look()
            return self.sets
        assert selector.endswith("pod-template-hash=old")
        return [{"metadata": {"name": "old-pod", "labels": OLD_LABELS}, "status": {}}]

    def merge(self, _kind: str, name: str, fields: dict[str, Any]) -> None:
        self.done.append(f"{name}: {next(iter(fields.values()))}")
        if self.paused_unseen and self.deployment:
            self.deployment["metadata"]["generation"] += 1

    def delete(self, kind: str, name: str, *, alone: bool = False) -> bool:
        self.done.append(f"delete {kind} {name}" + (" alone" if alone else ""))
        self.leaving = name
        return True

    def _look(self) -> None:
        """Let what was deleted go once it was looked for often enough."""
        if not self.leaving:
            return
        self.looks_until_gone -= 1
        if self.looks_until_gone <= 0:
            self.sets = [one for one in self.sets if one["metadata"]["name"] != self.leaving]
            self.done.append(f"ReplicaSet {self.leaving} is gone")
            self.leaving = ""


def session(cluster: FakeCluster, busy: list[Any]) -> Any:
    """Return a session whose old pod has so many requests, one number for each question."""

    def requests() -> int:
        found = busy.pop(0) if len(busy) > 1 else busy[0]
        if isinstance(found, Exception):
            raise found
        return int(found)

    @contextmanager
    def replica_api(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(requests=requests)

    return SimpleNamespace(
        cluster=cluster,
        clock=VirtualClock(),
        settings=SimpleNamespace(drain_timeout=timedelta(seconds=60), namespace="ns"),
        replica_api=replica_api,
    )
