"""The Kubernetes objects that are ours, not the chart's: the namespace and Secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vllm_flows.observed import MANAGED_BY

Object = dict[str, Any]

HF_TOKEN_SECRET, HF_TOKEN_KEY = "hf-token", "token"
API_KEY_SECRET, API_KEY_KEY = "vllm-api-key", "api-key"
DIGEST_KEY_SECRET, DIGEST_KEY_KEY = "vllm-flows-digest-key", "key"
GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
WEIGHTS_REQUESTS = {"cpu": "500m", "memory": "1Gi"}
"""What a weights Job's pod asks of its node."""


def namespace(name: str) -> Object:
    """Return the namespace with Pod Security `baseline` enforced and `restricted` warned."""
    labels = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted",
        **MANAGED_BY,
    }
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    }


def secret(name: str, key: str, value: str) -> Object:
    """Return a Secret with one value."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": dict(MANAGED_BY)},
        "type": "Opaque",
        "stringData": {key: value},
    }


def node_expressions(labels: Mapping[str, str]) -> list[Object]:
    """Return node labels as the match expressions of a node affinity term."""
    return [
        {"key": key, "operator": "In", "values": [value]} for key, value in sorted(labels.items())
    ]
