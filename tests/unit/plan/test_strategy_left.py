"""How pods are replaced, left over from a change that failed or was killed in the middle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vllm_flows.chart import Chart
from vllm_flows.desired import Desired
from vllm_flows.differences import entries
from vllm_flows.models import Model
from vllm_flows.observed import (
    DIGEST_ANNOTATION,
    ClusterState,
    DeployedModel,
    HubFile,
    Release,
    ReleaseState,
    Verdict,
    WeightsClaim,
)
from vllm_flows.plan import Action, Plan
from vllm_flows.planner import make_plan
from vllm_flows.rollout import AT_REST, Rollout, Strategy
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values
from vllm_flows.waves import waves, with_strategy

COMMIT = "a" * 40
MODEL = Model(name="qwen", modelURL="org/qwen")


def aim() -> Desired:
    settings = load_settings()
    values = release_values([PinnedModel(MODEL, COMMIT)], settings, None)
    verdict = Verdict("qwen", "org/qwen", COMMIT, files=(HubFile("model.safetensors", 1000),))
    return Desired([MODEL], {"qwen": verdict}, values, Chart("vllm-stack", (), "0.1.8"), settings)


def plan(values: Any) -> Plan:
    """Return the plan for a cluster that serves what is desired, from these values."""
    digest = entries(aim().values)["qwen"]["podAnnotations"][DIGEST_ANNOTATION]
    state = ClusterState(
        Release(ReleaseState.DEPLOYED, 3, "0.1.8", "deployed", values),
        {"qwen": DeployedModel("qwen", 1, 1, COMMIT, digest)},
        {"qwen": WeightsClaim("qwen", "50Gi", complete={COMMIT: 1}, answered=(digest,))},
        router=True,
    )
    return make_plan(replace(aim(), allow_downtime=True), state)


@pytest.mark.parametrize("way", [Strategy.STOP_FIRST, Strategy.ONE_AT_A_TIME])
def test_deployments_that_were_left_to_stop_pods_first_are_put_at_rest(way: Strategy):
    left = with_strategy(aim().values, Rollout(way))
    made = plan(left)
    assert "left pods to be stopped before others start" in made.release_reason
    assert [step.rollout for step in made.steps] == [None]
    (wave,) = waves(left, aim().values, [])
    assert wave.values == with_strategy(aim().values, AT_REST)
    assert wave.models == ()


@pytest.mark.parametrize("rollout", [AT_REST, Rollout(Strategy.SURGE, 4)])
def test_deployments_that_stop_nothing_first_are_left_as_they_are(rollout: Rollout):
    made = plan(with_strategy(aim().values, rollout))
    assert made.release_reason == ""
    assert [step.action for step in made.steps] == [Action.NONE]
