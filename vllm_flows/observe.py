"""From Kubernetes objects to what the plan looks at. Pure; objects in, data out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from vllm_flows.names import RELEASE
from vllm_flows.observed import (
    DIGEST_ANNOTATION,
    MODEL_LABEL,
    REVISION_ANNOTATION,
    WEIGHTS_ANNOTATION,
    DeployedModel,
    WeightsClaim,
)
from vllm_flows.quantities import parse_quantity

Object = Mapping[str, Any]

ENGINE_SELECTOR = f"helm-release-name={RELEASE}"
"""Selects engine Deployments and pods (chart 0.1.8 to 0.1.12); never the router's."""


def deployed_models(deployments: Iterable[Object]) -> dict[str, DeployedModel]:
    """Return the engine Deployments by model name."""
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


def weights_claims(claims: Iterable[Object]) -> dict[str, WeightsClaim]:
    """Return our volume claims by model name."""
    found = {}
    for item in claims:
        model = (item["metadata"].get("labels") or {}).get(MODEL_LABEL)
        if not model:
            continue
        found[model] = WeightsClaim(
            model=model,
            size=item["spec"]["resources"]["requests"]["storage"],
            access_modes=tuple(item["spec"]["accessModes"]),
            complete=complete_commits(item),
            leaving="deletionTimestamp" in item["metadata"],
        )
    return found


def complete_commits(claim: Object) -> dict[str, int]:
    """Return the commits whose files are all on the volume, with their bytes."""
    text = (claim["metadata"].get("annotations") or {}).get(WEIGHTS_ANNOTATION)
    manifest = json.loads(text) if text else {}
    return {commit: entry["bytes"] for commit, entry in manifest.items()}


def with_complete_commit(claim: Object, commit: str, files: int, size: int) -> str:
    """Return the claim's weights annotation with one more complete commit."""
    text = (claim["metadata"].get("annotations") or {}).get(WEIGHTS_ANNOTATION)
    manifest = json.loads(text) if text else {}
    manifest[commit] = {"files": files, "bytes": size}
    return json.dumps(manifest, sort_keys=True)


def weights_nodes(
    nodes: Iterable[Object], pods: Iterable[Object], model: str, gpus: int, access_mode: str
) -> list[str]:
    """Return the hostnames where a weights Job may run; empty means anywhere.

    Beside the running engine when only one node can mount the volume; else on nodes with as many
    GPUs as the engine wants: a volume bound on a node without them would strand the model.
    """
    hostnames = {
        node["metadata"]["name"]: node["metadata"]["labels"].get(
            "kubernetes.io/hostname", node["metadata"]["name"]
        )
        for node in nodes
        if parse_quantity(str(_allocatable(node).get("nvidia.com/gpu", "0"))) >= gpus
    }
    if access_mode == "ReadWriteOnce":
        beside = {
            hostnames[pod["spec"]["nodeName"]]
            for pod in pods
            if pod["metadata"]["labels"].get("model") == model
            and pod["spec"].get("nodeName") in hostnames
        }
        if beside:
            return sorted(beside)
    return sorted(hostnames.values())


def _allocatable(node: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = node.get("status", {}).get("allocatable") or {}
    return found
