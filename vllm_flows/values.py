"""The values that the chart `vllm-stack` is given. Pure; holds names of Secrets, never a secret.

Keys that behave the same on chart versions 0.1.8 to 0.1.12 only: the commit travels in
`extraArgs`, because `modelRevision` is ignored before 0.1.12, and the weights come through
`extraVolumes`, because `pvcExistingClaimName` is not on all of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_flows.differences import at_commit, entries
from vllm_flows.images import parse_image
from vllm_flows.manifests import (
    API_KEY_KEY,
    API_KEY_SECRET,
    GPU_TOLERATION,
    node_expressions,
)
from vllm_flows.models import Model
from vllm_flows.observed import API_KEY_ANNOTATION, DIGEST_ANNOTATION, REVISION_ANNOTATION
from vllm_flows.rollout import AT_REST
from vllm_flows.settings import Settings
from vllm_flows.waves import shared_values, with_entries
from vllm_flows.weights_manifests import HUB_CACHE, WEIGHTS_MOUNT, claim_name

Values = dict[str, Any]

_PROBE_PERIOD_SECONDS = 5
_LONGEST_START_SECONDS = 4 * 3600
_ENGINE_PORT = 8000
_CHANGES_NO_POD = {"replicaCount", "podAnnotations"}


@dataclass(frozen=True)
class Common:
    """What all engines have in common: shared values, marks of their pods, the chart's version."""

    shared: Mapping[str, Any]
    marks: Mapping[str, str]
    chart_version: str = ""


@dataclass(frozen=True)
class PinnedModel:
    """A model together with the commit that its revision stands for."""

    model: Model
    commit: str


def release_values(
    models: Sequence[PinnedModel],
    settings: Settings,
    key_mark: str | None,
    chart_version: str = "",
) -> Values:
    """Return the values of the whole release, models in the order of their names.

    `key_mark` is the keyed digest of the API key that protects the endpoint, so that a new one
    restarts who holds the old; None without a key. Charts of another version make other pods of the
    same values.
    """
    shared = _shared_engine_values(settings, api_key=key_mark is not None)
    marks = {API_KEY_ANNOTATION: key_mark} if key_mark else {}
    entries = [
        engine_values(pinned, settings, Common(shared, marks, chart_version))
        for pinned in sorted(models, key=lambda pinned: pinned.model.name)
    ]
    return {
        "servingEngineSpec": {
            **shared,
            "strategy": AT_REST.as_chart_values(),
            "enableEngine": True,
            "modelSpec": entries,
        },
        "routerSpec": _router_values(settings, marks),
    }


def has_api_key(values: Mapping[str, Any]) -> bool:
    """Say whether a release's engines want an API key."""
    return "vllmApiKey" in (values.get("servingEngineSpec") or {})


def engine_values(pinned: PinnedModel, settings: Settings, common: Common) -> Values:
    """Return one entry of `modelSpec`; its pods carry the commit and the configuration's digest."""
    model = pinned.model
    entry: Values = {
        "name": model.name,
        **settings.engine_image.chart_values,
        "modelURL": model.model_url,
        "replicaCount": model.replica_count,
        "requestCPU": model.request_cpu,
        "requestMemory": model.request_memory,
        "requestGPU": model.request_gpu,
        "vllmConfig": _engine_options(pinned),
        "env": [
            {"name": "HF_HUB_CACHE", "value": HUB_CACHE},
            # Restarts meet no rate limit, and no engine needs the token.
            {"name": "HF_HUB_OFFLINE", "value": "1"},
        ],
        "extraVolumes": [
            {
                "name": "weights",
                "persistentVolumeClaim": {"claimName": claim_name(model.name)},
            }
        ],
        "extraVolumeMounts": [{"name": "weights", "mountPath": WEIGHTS_MOUNT, "readOnly": True}],
    }
    if model.limit_memory:
        entry["limitMemory"] = model.limit_memory
    if model.node_selector:
        entry["nodeSelectorTerms"] = [{"matchExpressions": node_expressions(model.node_selector)}]
    entry["podAnnotations"] = {
        REVISION_ANNOTATION: pinned.commit,
        DIGEST_ANNOTATION: configuration_digest(entry, common),
        **common.marks,
    }
    return entry


def at_new_commit(
    values: Mapping[str, Any], model: str, commit: str, chart_version: str
) -> Mapping[str, Any]:
    """Return a release's values with one model at another commit, and nothing else changed.

    They are what `release_values` makes of the same models and settings with that commit.
    """
    entry = entries(values)[model]
    noted = entry["podAnnotations"]
    moved = dict(at_commit(entry, noted[REVISION_ANNOTATION], commit))
    marks = {
        key: text
        for key, text in noted.items()
        if key not in {REVISION_ANNOTATION, DIGEST_ANNOTATION}
    }
    shared = {key: one for key, one in shared_values(values).items() if key != "enableEngine"}
    digest = configuration_digest(moved, Common(shared, marks, chart_version))
    moved["podAnnotations"] = {**moved["podAnnotations"], DIGEST_ANNOTATION: digest}
    return with_entries(values, {model: moved})


def configuration_digest(entry: Mapping[str, Any], common: Common) -> str:
    """Return a digest of all that makes the engine's pods: equal data, equal digest.

    The number of replicas is not part of it: scaling restarts nothing.
    """
    relevant = {key: value for key, value in entry.items() if key not in _CHANGES_NO_POD}
    made_of = [relevant, common.shared, common.marks, common.chart_version]
    text = json.dumps(made_of, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _engine_options(pinned: PinnedModel) -> Values:
    """Return vllmConfig; the chart would turn prefix caching off where nothing is said of it."""
    options: Values = {"enablePrefixCaching": True, **pinned.model.vllm_config.as_chart_values()}
    extra = options.get("extraArgs", [])
    ours = ["--served-model-name", pinned.model.name, "--revision", pinned.commit]
    if pinned.model.trust_remote_code:
        ours.append("--trust-remote-code")
    return {**options, "extraArgs": [*ours, *extra]}


def _shared_engine_values(settings: Settings, *, api_key: bool) -> Values:
    period = _PROBE_PERIOD_SECONDS
    # A large model loads for many minutes; the orchestrator, not the probe, decides when to stop.
    # The same for all settings: a longer VLLM_HELM_TIMEOUT must not restart what is loading.
    startup_tries = _LONGEST_START_SECONDS // period
    shared: Values = {
        "runtimeClassName": settings.runtime_class,
        "imagePullPolicy": settings.engine_image.pull_policy,
        "tolerations": [GPU_TOLERATION],
        "startupProbe": _health_probe(period, startup_tries),
        "readinessProbe": _health_probe(period, 3),
    }
    if api_key:
        shared["vllmApiKey"] = {"secretName": API_KEY_SECRET, "secretKey": API_KEY_KEY}
    return shared


def _health_probe(period: int, tries: int) -> Values:
    # From chart 0.1.12 on, an initial delay of 0 is read as not set and becomes 15.
    return {
        "initialDelaySeconds": 1,
        "periodSeconds": period,
        "failureThreshold": tries,
        "httpGet": {"path": "/health", "port": _ENGINE_PORT},
    }


def _router_values(settings: Settings, marks: Mapping[str, str]) -> Values:
    return {
        **_router_image(settings),
        "podAnnotations": dict(marks),
        "enableRouter": settings.router_enabled,
        "replicaCount": settings.router_replicas,
        "serviceDiscovery": "k8s",
        "routingLogic": "roundrobin",
        "resources": {
            "requests": {
                "cpu": settings.router_request_cpu,
                "memory": settings.router_request_memory,
            },
            "limits": {"memory": settings.router_limit_memory},
        },
        # The chart gives the router 20 seconds to start and makes it wait 30 to be ready.
        "startupProbe": {"initialDelaySeconds": 2, "periodSeconds": 2, "failureThreshold": 60},
        "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 2},
    }


def _router_image(settings: Settings) -> Values:
    """Return the router's image, nothing when it is the chart's own."""
    if not settings.router_image:
        return {}
    image = parse_image(settings.router_image)
    return {**image.chart_values, "imagePullPolicy": image.pull_policy}
