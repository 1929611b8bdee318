"""Which pods a scale-down ends, and which are left to hold their resources. Pure.

Helm applies all changes at once: a pod that waits for GPUs is scheduled as soon as another model's
pod has ended, so what ends in a run is free for the rest of that run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from vllm_flows.observe import ENGINE_SELECTOR

Object = Mapping[str, Any]


def remaining(pods: Iterable[Object], stays: Mapping[str, int], namespace: str) -> list[Object]:
    """Return the pods that are left when of each model in `stays` only so many are.

    Pods that are being deleted are left out; models that are not in `stays` keep all others.
    """
    left: list[Object] = []
    shrinking: dict[str, list[Object]] = {model: [] for model in stays}
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp"):
            continue
        shrinking.get(_model(pod, namespace), left).append(pod)
    for model, found in shrinking.items():
        left += _longest_kept(found)[: stays[model]]
    return left


def _model(pod: Object, namespace: str) -> str:
    """Return the model whose engine the pod is, "" when it is none of ours."""
    labels = pod["metadata"].get("labels") or {}
    key, _, release = ENGINE_SELECTOR.partition("=")
    ours = pod["metadata"].get("namespace") == namespace and labels.get(key) == release
    return str(labels.get("model", "")) if ours else ""


def _longest_kept(pods: list[Object]) -> list[Object]:
    """Sort by the ReplicaSet controller's order, those that it ends last first.

    It ends pods without a node first, then those that are not ready, those that share a node with
    most others, and the newest; costs of deletion and the age's logarithm are not looked at.
    """
    beside = Counter(pod["spec"].get("nodeName") for pod in pods)
    oldest = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""))
    return sorted(
        oldest,
        key=lambda pod: (
            not pod["spec"].get("nodeName"),
            not _ready(pod),
            beside[pod["spec"].get("nodeName")],
        ),
    )


def _ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
