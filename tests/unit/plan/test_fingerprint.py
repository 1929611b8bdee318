"""Every single thing that an agreed plan depends on is in its fingerprint, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vllm_flows.chart import Chart
from vllm_flows.desired import Desired
from vllm_flows.drift import Drift
from vllm_flows.errors import StalePlanError
from vllm_flows.fingerprint import check_expected, fingerprint
from vllm_flows.models import Model
from vllm_flows.observed import (
    ClusterState,
    DeployedModel,
    Release,
    ReleaseState,
    Surroundings,
    Verdict,
)
from vllm_flows.plan import Action, ClaimAction, Plan, Step
from vllm_flows.rollout import Rollout, Strategy
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values

OLD, NEW = "a" * 40, "b" * 40
MODEL = Model(name="qwen", modelURL="org/qwen")
ROLLOUT = Rollout(Strategy.STOP_FIRST, downtime=True)
STEP = Step("qwen", Action.UPDATE, "why", "org/qwen", NEW, gpus=1, rollout=ROLLOUT)
PLAN = Plan((STEP,), "values changed")
STATE = ClusterState(
    Release(ReleaseState.DEPLOYED, 3, "0.1.8", "deployed"),
    {"qwen": DeployedModel("qwen", 1, 1, OLD, "digest")},
)


def desired(key_mark: str | None = None, **settings: Any) -> Desired:
    shared = load_settings(**settings)
    values = release_values([PinnedModel(MODEL, NEW)], shared, key_mark)
    verdicts = {"qwen": Verdict("qwen", "org/qwen", NEW)}
    return Desired([MODEL], verdicts, values, Chart("vllm-stack", (), "0.1.8"), shared)


AGREED = fingerprint(PLAN, desired(), STATE)


@pytest.mark.parametrize(
    "step",
    [
        replace(STEP, model="llama"),
        replace(STEP, action=Action.RESTART),
        replace(STEP, repository="org/other"),
        replace(STEP, commit=OLD),
        replace(STEP, claim=ClaimAction.GROW),
        replace(STEP, rollout=None),
        replace(STEP, rollout=Rollout(Strategy.SURGE, 1)),
        replace(STEP, rollout=replace(ROLLOUT, downtime=False)),
        replace(STEP, rollout=replace(ROLLOUT, surge=1)),
    ],
)
def test_another_step_is_another_plan(step: Step):
    assert fingerprint(replace(PLAN, steps=(step,)), desired(), STATE) != AGREED


def test_a_model_more_and_another_reason_for_the_release_are_another_plan():
    assert fingerprint(replace(PLAN, steps=(STEP, STEP)), desired(), STATE) != AGREED
    assert fingerprint(replace(PLAN, release_reason=""), desired(), STATE) != AGREED


@pytest.mark.parametrize(
    "other",
    [
        lambda aim: replace(aim, models=[MODEL.model_copy(update={"on_failure": "keep"})]),
        lambda aim: replace(aim, values={**aim.values, "routerSpec": {}}),
        lambda aim: replace(aim, chart=Chart("vllm-stack", (), "0.1.9")),
        lambda _: desired(runtime_class="other"),
    ],
)
def test_another_aim_is_another_plan(other: Any):
    assert fingerprint(PLAN, other(desired()), STATE) != AGREED


def deployed(**fields: Any) -> ClusterState:
    return replace(STATE, deployments={"qwen": replace(STATE.deployments["qwen"], **fields)})


@pytest.mark.parametrize(
    "state",
    [
        replace(STATE, release=replace(STATE.release, revision=4)),
        replace(STATE, release=replace(STATE.release, state=ReleaseState.FAILED)),
        replace(STATE, drifts=(Drift("Service", "s", ("spec.type: a -> b",)),)),
        replace(STATE, deployments={}),
        deployed(replicas=2),
        deployed(revision=NEW),
        deployed(digest="other"),
    ],
)
def test_a_cluster_that_moved_on_makes_another_plan(state: ClusterState):
    assert fingerprint(PLAN, desired(), state) != AGREED


def test_another_namespace_or_another_cluster_is_another_plan():
    assert fingerprint(PLAN, desired(namespace="other"), STATE) != AGREED
    assert fingerprint(PLAN, desired(), replace(STATE, cluster="other")) != AGREED


def test_what_changes_by_itself_and_decides_nothing_makes_no_other_plan():
    for state in (deployed(ready=0), replace(STATE, around=Surroundings(nodes=()))):
        assert fingerprint(PLAN, desired(), state) == AGREED
    noted = replace(STEP, reason="in other words", notes=("a note",), nodes=("node",))
    assert fingerprint(replace(PLAN, steps=(noted,)), desired(), STATE) == AGREED


def test_the_mark_of_a_key_that_is_drawn_anew_each_time_makes_no_other_plan():
    drawn = [fingerprint(PLAN, desired(version), STATE) for version in ("one", "two")]
    assert drawn[0] == drawn[1]


def test_another_plan_than_was_agreed_to_is_refused_with_the_command_to_look_at_it():
    check_expected(AGREED, AGREED)
    with pytest.raises(StalePlanError) as caught:
        check_expected(AGREED, "another", "vllm-flows diff")
    assert caught.value.next_command.startswith("vllm-flows diff ")
