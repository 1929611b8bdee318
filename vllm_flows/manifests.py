"""The Kubernetes objects that are ours, not the chart's: namespace, Secrets, claims, Jobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from vllm_flows.models import Model
from vllm_flows.observed import (
    JOB_DIGEST_ANNOTATION,
    MANAGED_BY,
    MODEL_LABEL,
    VERSION_ANNOTATION,
    Verdict,
)
from vllm_flows.settings import Settings
from vllm_flows.weights_job import PERMANENT

Object = dict[str, Any]

HF_TOKEN_SECRET, HF_TOKEN_KEY = "hf-token", "token"
API_KEY_SECRET, API_KEY_KEY = "vllm-api-key", "api-key"
WEIGHTS_MOUNT = "/weights"
HUB_CACHE = f"{WEIGHTS_MOUNT}/hub"
_PROGRAM_MOUNT = "/vllm-flows"
_TERMINATION_LOG = "/dev/termination-log"
_ATTEMPTS = 4
_KEEP_FINISHED_JOBS = timedelta(days=1)
_COMMIT_DIGITS = 8
GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}


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


def secret(name: str, key: str, value: str, version: str) -> Object:
    """Return a Secret with one value and the random mark that is new with each new value."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "labels": dict(MANAGED_BY),
            "annotations": {VERSION_ANNOTATION: version},
        },
        "type": "Opaque",
        "stringData": {key: value},
    }


def claim_name(model: str) -> str:
    """Return the name of the claim that holds a model's weights."""
    return f"weights-{model}"


def weights_claim(model: Model, settings: Settings) -> Object:
    """Return the claim for a model's weights; Helm does not own it, so uninstall keeps it."""
    spec: Object = {
        "accessModes": [settings.storage_access_mode],
        "resources": {"requests": {"storage": model.pvc_storage}},
    }
    if settings.storage_class:
        spec["storageClassName"] = settings.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim_name(model.name), "labels": _labels(model.name)},
        "spec": spec,
    }


def job_name(model: str, commit: str) -> str:
    """Return the Job's name: one per model and commit, so a second run finds the first's."""
    return f"weights-{model}-{commit[:_COMMIT_DIGITS]}"


def weights_program(verdict: Verdict) -> Object:
    """Return the ConfigMap with the Job's program and the list of files it is to bring."""
    files = [
        {"name": file.name, "size": file.size, "sha256": file.sha256} for file in verdict.files
    ]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": job_name(verdict.model, verdict.commit),
            "labels": _labels(verdict.model),
        },
        "data": {
            "weights_job.py": Path(__file__).with_name("weights_job.py").read_text(),
            "files.json": json.dumps(files),
        },
    }


def weights_job(
    verdict: Verdict, settings: Settings, nodes: Sequence[str], *, token: bool
) -> Object:
    """Return the Job that fills the claim, on one of `nodes` (any node when empty).

    It runs the engine image, which the node needs anyway. It asks for no GPU: it must run
    beside the engine that still uses them. `token`: the Secret hf-token is there to be used.
    """
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "tolerations": [GPU_TOLERATION],
        "containers": [_weights_container(verdict, settings, token=token)],
        "volumes": [
            _claim_volume(verdict.model),
            {
                "name": "program",
                "configMap": {"name": job_name(verdict.model, verdict.commit)},
            },
        ],
    }
    if nodes:
        pod["affinity"] = {"nodeAffinity": _one_of(nodes)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(verdict.model, verdict.commit),
            "labels": _labels(verdict.model),
            "annotations": {JOB_DIGEST_ANNOTATION: _digest(pod["containers"])},
        },
        "spec": {
            "backoffLimit": _ATTEMPTS,
            "activeDeadlineSeconds": int(settings.weights_timeout.total_seconds()),
            "ttlSecondsAfterFinished": int(_KEEP_FINISHED_JOBS.total_seconds()),
            "podFailurePolicy": {"rules": [_give_up_on(PERMANENT)]},
            "template": {"metadata": {"labels": _labels(verdict.model)}, "spec": pod},
        },
    }


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _weights_container(verdict: Verdict, settings: Settings, *, token: bool) -> Object:
    return {
        "name": "weights",
        "image": f"{settings.model_image}:{settings.model_tag}",
        "command": ["python3", f"{_PROGRAM_MOUNT}/weights_job.py"],
        "env": _weights_environment(verdict, settings, token=token),
        "resources": {"requests": {"cpu": "500m", "memory": "2Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [
            {"name": "weights", "mountPath": WEIGHTS_MOUNT},
            {"name": "program", "mountPath": _PROGRAM_MOUNT, "readOnly": True},
        ],
    }


def _weights_environment(verdict: Verdict, settings: Settings, *, token: bool) -> list[Object]:
    plain = {
        "WEIGHTS_REPOSITORY": verdict.repository,
        "WEIGHTS_COMMIT": verdict.commit,
        "WEIGHTS_FILES": f"{_PROGRAM_MOUNT}/files.json",
        "TERMINATION_LOG": _TERMINATION_LOG,
        "HF_HOME": "/tmp",  # noqa: S108 -- the container's own; only the cache must last
        "HF_HUB_CACHE": HUB_CACHE,
        "HF_ENDPOINT": settings.hub_endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    environment: list[Object] = [{"name": key, "value": value} for key, value in plain.items()]
    if token:
        reference = {"name": HF_TOKEN_SECRET, "key": HF_TOKEN_KEY}
        environment.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    return environment


def _claim_volume(model: str) -> Object:
    return {"name": "weights", "persistentVolumeClaim": {"claimName": claim_name(model)}}


def _labels(model: str) -> dict[str, str]:
    return {MODEL_LABEL: model, **MANAGED_BY}


def _one_of(nodes: Sequence[str]) -> Object:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": sorted(nodes)}
    term = {"matchExpressions": [expression]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}


def _give_up_on(code: int) -> Object:
    codes = {"containerName": "weights", "operator": "In", "values": [code]}
    return {"action": "FailJob", "onExitCodes": codes}
