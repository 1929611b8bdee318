"""Deployments, pods, events and nodes as the API shows them."""

from __future__ import annotations

from typing import Any

import pytest

NAME = "vllm-q-deployment-vllm"
POD = "vllm-q-deployment-vllm-7d9f8c6b5-abcde"


class Kubernetes:
    """Makes objects with what a test is about; the rest is as usual."""

    pod_name = POD

    @staticmethod
    def deployment(wanted: int = 1, **status: Any) -> dict[str, Any]:
        return {
            "metadata": {"name": NAME, "namespace": "ns", "generation": 2},
            "spec": {
                "replicas": wanted,
                "selector": {"matchLabels": {"model": "q"}},
                "template": {"metadata": {"annotations": {"digest": "new"}}},
            },
            "status": {"observedGeneration": 2, **status},
        }

    @staticmethod
    def pod(
        name: str = POD,
        *,
        node: str | None = "gpu-node-1",
        conditions: list[Any] | None = None,
        containers: list[dict[str, Any]] | None = None,
        **status: Any,
    ) -> dict[str, Any]:
        labels = {"model": "q", "pod-template-hash": "7d9f8c6b5"}
        claim = {"persistentVolumeClaim": {"claimName": "weights-q"}, "name": "weights"}
        spec: dict[str, Any] = {"volumes": [claim]}
        return {
            "metadata": {
                "name": name,
                "uid": name,
                "labels": labels,
                "annotations": {"digest": "new"},
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": spec | ({"nodeName": node} if node else {}),
            "status": {
                "conditions": conditions or [],
                "containerStatuses": containers or [],
                **status,
            },
        }

    def unscheduled(self, message: str, name: str = POD) -> dict[str, Any]:
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        return self.pod(name, node=None, conditions=[{**condition, "message": message}])

    def with_container(self, **status: Any) -> dict[str, Any]:
        return self.pod(containers=[{"name": "vllm", "ready": False, "restartCount": 0, **status}])

    def waiting(self, reason: str, message: str = "", **status: Any) -> dict[str, Any]:
        state = {"waiting": {"reason": reason, "message": message}}
        return self.with_container(state=state, image="vllm/vllm-openai:v0.32.0", **status)

    def ended(self, code: int, reason: str = "Error", **status: Any) -> dict[str, Any]:
        return self.with_container(
            state={"terminated": {"exitCode": code, "reason": reason}}, **status
        )

    def backing_off(self, code: int, restarts: int, reason: str = "Error") -> dict[str, Any]:
        """Return a pod as the kubelet shows it between two runs of a container that crashes."""
        text = f"back-off 10s restarting failed container=vllm pod={POD}_ns(uid)"
        ended = {"terminated": {"exitCode": code, "reason": reason}}
        return self.waiting("CrashLoopBackOff", text, lastState=ended, restartCount=restarts)

    def again(self, code: int, restarts: int = 1) -> dict[str, Any]:
        """Return a pod whose container runs again after an end."""
        ended = {"terminated": {"exitCode": code, "reason": "Error"}}
        return self.with_container(state={"running": {}}, lastState=ended, restartCount=restarts)

    @staticmethod
    def event(reason: str, message: str, count: int = 1) -> dict[str, Any]:
        return {"reason": reason, "message": message, "count": count}

    @staticmethod
    def node(name: str, *, gpus: int = 8, taint: str = "", ready: str = "True") -> dict[str, Any]:
        taints = [{"key": taint, "effect": "NoSchedule"}] if taint else []
        resources = {"cpu": "64", "memory": "256Gi"} | (
            {"nvidia.com/gpu": str(gpus)} if gpus else {}
        )
        message = "Kubelet stopped posting node status."
        return {
            "metadata": {"name": name, "labels": {}},
            "spec": {"taints": taints},
            "status": {
                "allocatable": resources,
                "conditions": [{"type": "Ready", "status": ready, "message": message}],
            },
        }

    @staticmethod
    def refused(message: str) -> dict[str, Any]:
        return {"type": "ReplicaFailure", "status": "True", "message": message}


@pytest.fixture
def kubernetes() -> Kubernetes:
    return Kubernetes()
