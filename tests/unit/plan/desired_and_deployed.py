"""What should be and what is there, as data, for the tests of a whole plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vllm_flows.chart import Chart
from vllm_flows.desired import Desired
from vllm_flows.models import Model
from vllm_flows.observed import (
    DIGEST_ANNOTATION,
    ClusterState,
    DeployedModel,
    HubFile,
    Release,
    ReleaseState,
    Surroundings,
    Verdict,
    WeightsClaim,
)
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values

SHA = "a" * 40
OTHER_SHA = "b" * 40


def a_model(name: str = "qwen", **fields: Any) -> Model:
    return Model(name=name, modelURL=f"org/{name}", **fields)


def verdict(model: Model, commit: str = SHA, size: int = 1000, **fields: Any) -> Verdict:
    files = (HubFile("model.safetensors", size),)
    return Verdict(model.name, model.model_url, commit, files=files, **fields)


def desired(
    *models: Model,
    verdicts: list[Verdict] | None = None,
    version: str = "0.1.8",
    api_key: str | None = None,
) -> Desired:
    settings = load_settings()
    found = verdicts or [verdict(model) for model in models]
    pinned = [
        PinnedModel(model, given.commit)
        for model, given in zip(models, found, strict=True)
        if not given.problems
    ]
    return Desired(
        models,
        {given.model: given for given in found},
        release_values(pinned, settings, api_key, version),
        Chart("vllm-stack", (), version),
        settings,
    )


def as_deployed(aim: Desired) -> ClusterState:
    """Return the state of a cluster in which `aim` was reached, and every model answered."""
    entries = aim.values["servingEngineSpec"]["modelSpec"]
    return ClusterState(
        Release(ReleaseState.DEPLOYED, 3, aim.chart.version, "deployed", aim.values),
        {entry["name"]: deployment(entry) for entry in entries},
        {
            model.name: WeightsClaim(
                model.name,
                model.pvc_storage,
                complete={SHA: 1000},
                answered=(entry["podAnnotations"][DIGEST_ANNOTATION],),
            )
            for model, entry in zip(aim.models, entries, strict=True)
        },
        router=True,
    )


def deployment(entry: Mapping[str, Any]) -> DeployedModel:
    replicas = entry["replicaCount"]
    digest = entry["podAnnotations"][DIGEST_ANNOTATION]
    return DeployedModel(entry["name"], replicas, replicas, SHA, digest)


NOTHING = ClusterState(Release(ReleaseState.ABSENT))


def on_nodes(state: ClusterState, *nodes: Any, pods: Any = ()) -> ClusterState:
    return replace(state, around=Surroundings(nodes=nodes, pods=tuple(pods)))


def engine_on(make: Any, model: str, node: str = "a") -> Any:
    labels = {"model": model, "helm-release-name": "vllm"}
    return make.pod(node, namespace="vllm", labels=labels)
