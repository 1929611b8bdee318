"""The objects that bring weights to a volume: the claim, the Job and the program it runs."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from vllm_flows.manifests import (
    GPU_TOLERATION,
    HF_TOKEN_KEY,
    HF_TOKEN_SECRET,
    WEIGHTS_REQUESTS,
    node_expressions,
)
from vllm_flows.models import Model
from vllm_flows.observed import JOB_DIGEST_ANNOTATION, MANAGED_BY, MODEL_LABEL, Verdict
from vllm_flows.settings import Settings
from vllm_flows.weights_job import PERMANENT
from vllm_flows.weights_program import PROGRAM_NAME, weights_archive

Object = dict[str, Any]

WEIGHTS_MOUNT = "/weights"
HUB_CACHE = f"{WEIGHTS_MOUNT}/hub"
PROGRAM_MOUNT = "/vllm-flows"
TERMINATION_LOG = "/dev/termination-log"
_ATTEMPTS = 4
_KEEP_FINISHED_JOBS = timedelta(days=1)
_COMMIT_DIGITS = 8
_CONFIG_MAP_BYTES = 1024**2
"""Of all its values (MaxSecretSize in kubernetes/pkg/apis/core)."""
_HOSTNAME = "kubernetes.io/hostname"


@dataclass(frozen=True)
class WeightsOrder:
    """What a weights Job is to do beside fetching the verdict's commit.

    `nodes` are host names, any node when empty; `keep` are commits that must stay on the volume,
    `before` the one served before, which stays while there is room; `budget` are the volume's
    bytes. `token`: the Secret hf-token is there to be used. `claim`: the uid of the claim to fill.
    `tolerations` are the engine's, those of its RuntimeClass included: the Job has none. `recheck`
    is new for each Job that is to read again what earlier ones found right, else "".
    """

    nodes: Sequence[str] = ()
    keep: Sequence[str] = ()
    before: str = ""
    budget: int = 0
    token: bool = False
    claim: str = ""
    recheck: str = ""
    tolerations: Sequence[Mapping[str, Any]] = (GPU_TOLERATION,)


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
    program = base64.b64encode(weights_archive()).decode()
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": job_name(verdict.model, verdict.commit),
            "labels": _labels(verdict.model),
        },
        "data": {"files.json": json.dumps(_files(verdict))},
        "binaryData": {PROGRAM_NAME: program},
    }


def list_is_too_long(verdict: Verdict) -> bool:
    """Say whether the list of files has no room in the ConfigMap beside the program."""
    return len(json.dumps(_files(verdict))) + len(weights_archive()) > _CONFIG_MAP_BYTES


def _files(verdict: Verdict) -> list[Object]:
    return [
        {"name": file.name, "size": file.size, "sha256": file.sha256, "blob_id": file.blob_id}
        for file in verdict.files
    ]


def weights_job(model: Model, verdict: Verdict, settings: Settings, order: WeightsOrder) -> Object:
    """Return the Job that fills the claim, on one of the order's nodes.

    It runs the engine image, which the node needs anyway. It asks for no GPU: it must run
    beside the engine that still uses them. Its pod meets Pod Security `baseline`, and `restricted`
    when a user is set. Its digest tells one that does the same, for the same claim, as the same
    user: all but the hosts, for which see `hosts_of`, and whether it reads all again.
    """
    pod = _pod(verdict, settings, order)
    lasting = _pod(verdict, settings, replace(order, recheck=""))
    digest = _digest([lasting, node_expressions(model.node_selector), _files(verdict), order.claim])
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(verdict.model, verdict.commit),
            "labels": _labels(verdict.model),
            "annotations": {JOB_DIGEST_ANNOTATION: digest},
        },
        "spec": {
            "backoffLimit": _ATTEMPTS,
            "activeDeadlineSeconds": int(settings.weights_timeout.total_seconds()),
            "ttlSecondsAfterFinished": int(_KEEP_FINISHED_JOBS.total_seconds()),
            "podFailurePolicy": {"rules": [_give_up_on(PERMANENT)]},
            "template": {
                "metadata": {"labels": _labels(verdict.model)},
                "spec": pod | _affinity(model, order),
            },
        },
    }


def any_weights_pod(settings: Settings) -> Object:
    """Return a pod such as all weights Jobs make, to ask whether the API takes it."""
    verdict, model = Verdict("any", "any/any", "0" * 40), Model(name="any", model_url="any/any")
    template = weights_job(model, verdict, settings, WeightsOrder())["spec"]["template"]
    metadata = {**template["metadata"], "name": "weights-any"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def hosts_of(job: Mapping[str, Any]) -> frozenset[str]:
    """Return the host names that a weights Job is kept to; empty when it may run on any."""
    found = job["spec"]["template"]["spec"].get("affinity") or {}
    for key in ("nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"):
        found = found.get(key) or {}
    return frozenset(
        host
        for term in found.get("nodeSelectorTerms", ())
        for expression in term.get("matchExpressions", ())
        if expression["key"] == _HOSTNAME
        for host in expression["values"]
    )


def _pod(verdict: Verdict, settings: Settings, order: WeightsOrder) -> Object:
    program = {"name": job_name(verdict.model, verdict.commit)}
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": pod_security(settings.weights_user),
        "tolerations": [dict(one) for one in order.tolerations],
        "containers": [_container(verdict, settings, order)],
        "volumes": [_claim_volume(verdict.model), {"name": "program", "configMap": program}],
    }


def _affinity(model: Model, order: WeightsOrder) -> Object:
    """Return the pod's `affinity`: the model's node labels, and the hosts when they are known."""
    expressions = node_expressions(model.node_selector)
    if order.nodes:
        expressions.append({"key": _HOSTNAME, "operator": "In", "values": sorted(order.nodes)})
    if not expressions:
        return {}
    terms = [{"matchExpressions": expressions}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}}


def pod_security(user: int | None) -> Object:
    """Return the pod's security context; a user of its own can write where fsGroup is honoured."""
    context: Object = {"seccompProfile": {"type": "RuntimeDefault"}}
    if user is not None:
        context |= {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user}
        # A volume of many files: its owner is changed once, not at every start.
        context["fsGroupChangePolicy"] = "OnRootMismatch"
    return context


def container_security(user: int | None) -> Object:
    """Return the container's security context."""
    context: Object = {"allowPrivilegeEscalation": False}
    # The image's own user is root, which without capabilities cannot write to others' folders.
    return context if user is None else context | {"capabilities": {"drop": ["ALL"]}}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _container(verdict: Verdict, settings: Settings, order: WeightsOrder) -> Object:
    return {
        "name": "weights",
        "image": str(settings.engine_image),
        "command": ["python3", f"{PROGRAM_MOUNT}/{PROGRAM_NAME}"],
        "env": _environment(verdict, settings, order),
        "resources": {
            "requests": dict(WEIGHTS_REQUESTS),
            "limits": {"memory": "4Gi" if settings.weights_xet else "2Gi"},
        },
        "securityContext": container_security(settings.weights_user),
        "volumeMounts": [
            {"name": "weights", "mountPath": WEIGHTS_MOUNT},
            {"name": "program", "mountPath": PROGRAM_MOUNT, "readOnly": True},
        ],
    }


def _environment(verdict: Verdict, settings: Settings, order: WeightsOrder) -> list[Object]:
    plain = {
        "WEIGHTS_REPOSITORY": verdict.repository,
        "WEIGHTS_COMMIT": verdict.commit,
        "WEIGHTS_FILES": f"{PROGRAM_MOUNT}/files.json",
        "WEIGHTS_AT_ONCE": str(settings.weights_files_at_once),
        "WEIGHTS_XET": "1" if settings.weights_xet else "0",
        "WEIGHTS_KEEP": " ".join(sorted(order.keep)),
        "WEIGHTS_BEFORE": order.before,
        "WEIGHTS_BUDGET": str(order.budget),
        "WEIGHTS_RECHECK": order.recheck,
        "TERMINATION_LOG": TERMINATION_LOG,
        "HF_HOME": "/tmp",  # noqa: S108 -- the container's own; only the cache must last
        "HF_HUB_CACHE": HUB_CACHE,
        "HF_ENDPOINT": settings.hub_endpoint,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    environment: list[Object] = [{"name": key, "value": value} for key, value in plain.items()]
    if order.token:
        reference = {"name": HF_TOKEN_SECRET, "key": HF_TOKEN_KEY}
        environment.append({"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": reference}})
    return environment


def _claim_volume(model: str) -> Object:
    return {"name": "weights", "persistentVolumeClaim": {"claimName": claim_name(model)}}


def _labels(model: str) -> dict[str, str]:
    return {MODEL_LABEL: model, **MANAGED_BY}


def _give_up_on(code: int) -> Object:
    codes = {"containerName": "weights", "operator": "In", "values": [code]}
    return {"action": "FailJob", "onExitCodes": codes}
