"""The objects that look at the weights volumes of one node: a Job, and its program. Pure.

A ReadWriteOnce volume may be mounted by several pods of one node, so one pod on the engines' node
sees the volumes of them all. It mounts them read-only and runs the engine image, which the node
has; nothing of it is ours.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_flows.observed import MANAGED_BY, REVISION_ANNOTATION, WeightsClaim
from vllm_flows.settings import Settings
from vllm_flows.weights_inspection import CACHES, VOLUMES
from vllm_flows.weights_manifests import (
    PROGRAM_MOUNT,
    claim_name,
    container_security,
    pod_security,
)
from vllm_flows.weights_program import PROGRAM_NAME, weights_archive

Object = dict[str, Any]

LABEL = "vllm-flows.io/health"
"""On the Jobs of a check, and all that belongs to them: the check's own word."""
_AT_MOST = 50
"""Volumes of one pod; a node with more gets another Job."""
_MOUNTS = "/volumes"
_FILE = "volumes.json"
_PACE = 200_000_000
"""Bytes per second; a local disk has many times as many."""
_RESOURCES = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
_KEEP_FINISHED_SECONDS = 600


@dataclass(frozen=True)
class Batch:
    """Volumes that one Job looks at: its name, its node, the claims and their running commits."""

    name: str
    node: str
    commits: Mapping[str, tuple[str, ...]]


def batches(
    claims: Mapping[str, WeightsClaim], pods: Iterable[Mapping[str, Any]], word: str
) -> list[Batch]:
    """Return what is to be looked at: the commits that run and that the record promises.

    `pods` are the engines'. A volume is looked at on one node, where an engine has it. `word` tells
    this check from others.
    """
    running: dict[str, dict[str, set[str]]] = {}
    placed: dict[str, str] = {}
    for pod in pods:
        model, node = _model(pod), pod["spec"].get("nodeName", "")
        commit = (pod["metadata"].get("annotations") or {}).get(REVISION_ANNOTATION, "")
        claim = claims.get(model)
        if node and claim and claim.blobs.get(commit) and not claim.leaving:
            on = running.setdefault(placed.setdefault(model, node), {})
            on.setdefault(model, set()).add(commit)
    found: list[Batch] = []
    for node, models in sorted(running.items()):
        names = sorted(models)
        for begin in range(0, len(names), _AT_MOST):
            part = {name: tuple(sorted(models[name])) for name in names[begin : begin + _AT_MOST]}
            found.append(Batch(f"vllm-flows-health-{word}-{len(found)}", node, part))
    return found


def _model(pod: Mapping[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get("model", ""))


def program_of(
    batch: Batch, claims: Mapping[str, WeightsClaim], word: str, *, deep: bool
) -> Object:
    """Return the ConfigMap with the program and what it is to look at."""
    volumes = [
        {
            "model": model,
            "commits": {commit: dict(claims[model].blobs[commit]) for commit in commits},
        }
        for model, commits in batch.commits.items()
    ]
    order = {"deep": deep, "pace": _PACE, "volumes": volumes}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": batch.name, "labels": _labels(word)},
        "data": {_FILE: json.dumps(order)},
        "binaryData": {PROGRAM_NAME: base64.b64encode(weights_archive()).decode()},
    }


def job_of(batch: Batch, settings: Settings, word: str, seconds: float) -> Object:
    """Return the Job; Kubernetes ends it after so many seconds."""
    claims = [
        {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": claim_name(model)}}
        for number, model in enumerate(batch.commits)
    ]
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": pod_security(settings.weights_user),
        # Bound to the node by name: a node that takes no new pods is looked at too.
        "nodeName": batch.node,
        "tolerations": [{"operator": "Exists"}],
        "containers": [_container(batch.commits, settings)],
        "volumes": [*claims, {"name": "program", "configMap": {"name": batch.name}}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": batch.name, "labels": _labels(word)},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(seconds),
            "ttlSecondsAfterFinished": _KEEP_FINISHED_SECONDS,
            "template": {"metadata": {"labels": _labels(word)}, "spec": pod},
        },
    }


def _container(models: Iterable[str], settings: Settings) -> Object:
    mounts: Sequence[Object] = [
        {"name": f"volume-{number}", "mountPath": f"{_MOUNTS}/{number}", "readOnly": True}
        for number, _ in enumerate(models)
    ]
    return {
        "name": "volumes",
        "image": str(settings.engine_image),
        "command": ["python3", f"{PROGRAM_MOUNT}/{PROGRAM_NAME}"],
        "env": [
            {"name": VOLUMES, "value": f"{PROGRAM_MOUNT}/{_FILE}"},
            {"name": CACHES, "value": ":".join(f"{one['mountPath']}/hub" for one in mounts)},
        ],
        "resources": _RESOURCES,
        "securityContext": container_security(settings.weights_user),
        "volumeMounts": [
            *mounts,
            {"name": "program", "mountPath": PROGRAM_MOUNT, "readOnly": True},
        ],
    }


def _labels(word: str) -> dict[str, str]:
    return {LABEL: word, **MANAGED_BY}
