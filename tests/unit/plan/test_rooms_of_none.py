"""Rooms where something is not there: replicas, nodes that can be seen, pods that can be seen."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.chart import Chart
from vllm_flows.desired import Desired
from vllm_flows.models import Model
from vllm_flows.observed import (
    ClusterState,
    DeployedModel,
    Release,
    ReleaseState,
    Surroundings,
)
from vllm_flows.plan import Action
from vllm_flows.rollout import AT_REST, Rollout, Strategy
from vllm_flows.rooms import Room, find_rooms
from vllm_flows.settings import load_settings
from vllm_flows.trials import Moving


def a_model(**fields: Any) -> Model:
    return Model(name="qwen", modelURL="org/qwen", **fields)


def room(model: Model, replicas: int, around: Surroundings, ready: int | None = None) -> Room:
    """Return the room of a model whose pods change, of which so many replicas are deployed."""
    deployed = DeployedModel("qwen", replicas, replicas if ready is None else ready, "a" * 40, "x")
    state = ClusterState(
        Release(ReleaseState.DEPLOYED, 1), {"qwen": deployed}, router=True, around=around
    )
    aim = Desired([model], {}, {}, Chart("vllm-stack", (), "0.1.8"), load_settings())
    return find_rooms([Moving(model, Action.UPDATE)], (), aim, state)["qwen"]


def engine(make: Any, node: str = "a", gpus: int = 1) -> Any:
    labels = {"helm-release-name": "vllm", "model": "qwen"}
    return make.pod(node, gpus, namespace="vllm", labels=labels)


def test_a_model_without_replicas_needs_no_room_to_change(make: Any):
    full = Surroundings((make.node("a", 1),), (make.pod("a", 1),))
    assert room(a_model(replicaCount=0), 0, full) == Room(rollout=AT_REST)


def test_replicas_of_a_model_that_had_none_need_only_their_own_room(make: Any):
    half = Surroundings((make.node("a", 2),), (make.pod("a", 1),))
    found = room(a_model(replicaCount=1), 0, half)
    assert (found.rollout, found.nodes, found.problem) == (Rollout(Strategy.SURGE, 1), ("a",), None)


@pytest.mark.parametrize("missing", ["nodes", "pods"])
def test_where_room_cannot_be_seen_no_large_surge_is_asked_for(make: Any, missing: str):
    seen: dict[str, Any] = {"nodes": (make.node("a", 8),), "pods": (engine(make), engine(make))}
    around = Surroundings(**{**seen, missing: None})
    assert room(a_model(replicaCount=2), 2, around).rollout == AT_REST
    assert room(a_model(replicaCount=2), 2, Surroundings(**seen)).rollout == Rollout(
        Strategy.SURGE, 2
    )
