"""From Kubernetes objects to what the plan looks at. Pure; objects in, data out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vllm_flows.names import RELEASE
from vllm_flows.observed import (
    DIGEST_ANNOTATION,
    REVISION_ANNOTATION,
    DeployedModel,
    EnginePod,
)

Object = Mapping[str, Any]

ENGINE_SELECTOR = f"helm-release-name={RELEASE}"
"""Selects engine Deployments and pods (chart 0.1.8 to 0.1.12); never the router's."""


def deployed_models(deployments: Iterable[Object]) -> dict[str, DeployedModel]:
    """Return the engine Deployments by model name, of two the later one.

    A ReplicaSet that is left of one stands for it.
    """
    found = {}
    for item in deployments:
        name = item["metadata"]["labels"].get("model")
        if not name:
            continue
        annotations = item["spec"]["template"]["metadata"].get("annotations") or {}
        found[name] = DeployedModel(
            name=name,
            replicas=item["spec"].get("replicas", 1),
            ready=item.get("status", {}).get("readyReplicas", 0),
            revision=annotations.get(REVISION_ANNOTATION, ""),
            digest=annotations.get(DIGEST_ANNOTATION, ""),
        )
    return found


def engine_pods(pods: Iterable[Object]) -> tuple[EnginePod, ...]:
    """Return the engine pods that are not being deleted, nor only finish what they answer."""
    return tuple(
        EnginePod(
            model=pod["metadata"]["labels"].get("model", ""),
            node=pod["spec"].get("nodeName") or "",
            revision=(pod["metadata"].get("annotations") or {}).get(REVISION_ANNOTATION, ""),
        )
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"] and pod["metadata"]["labels"].get("model")
    )
