"""Nodes, models and a cluster as data, for the tests of what the plan decides."""

from __future__ import annotations

from typing import Any

import pytest


def gpu_node(name: str = "gpu-1", gpus: int = 8, **labels: str) -> dict[str, Any]:
    """Return a node of eight A100-80GB as the API has it."""
    known = {
        "kubernetes.io/hostname": name,
        "nvidia.com/gpu.memory": "81920",
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
        "nvidia.com/gpu.replicas": "1",
    }
    resources = {"cpu": "96", "memory": "512Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
    return {
        "metadata": {"name": name, "labels": known | labels},
        "spec": {},
        "status": {"allocatable": resources},
    }


def pod_on(node: str, gpus: int = 1, **metadata: Any) -> dict[str, Any]:
    """Return a running pod that holds GPUs of a node."""
    requests = {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": str(gpus)}
    return {
        "metadata": {"name": "p", "namespace": "other", **metadata},
        "spec": {"nodeName": node, "containers": [{"resources": {"requests": requests}}]},
    }


def storage_class(name: str = "fast", **fields: Any) -> dict[str, Any]:
    """Return a StorageClass; `default` makes it the cluster's."""
    default = "true" if fields.pop("default", False) else "false"
    annotations = {"storageclass.kubernetes.io/is-default-class": default}
    binding = {"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "example.com/disk"}
    return {"metadata": {"name": name, "annotations": annotations}, **binding, **fields}


@pytest.fixture
def make() -> Any:
    """Give tests the builders above by name."""
    from types import SimpleNamespace

    return SimpleNamespace(node=gpu_node, pod=pod_on, storage_class=storage_class)
