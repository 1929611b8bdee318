"""Which commits and which volumes nobody needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vllm_flows.observed import (
    MODEL_LABEL,
    REVISION_ANNOTATION,
    ClusterState,
    DeployedModel,
    EnginePod,
    Release,
    ReleaseState,
    WeightsClaim,
)
from vllm_flows.pruning import Pruning, busy_models, pruning_rows, prunings

A, B, C, D = (letter * 40 for letter in "abcd")
CLAIM = WeightsClaim(
    "qwen",
    "1Gi",
    {A: 150, B: 150, C: 150, D: 100},
    {A: {"a": 100, "x": 50}, B: {"b": 100, "x": 50}, C: {"c": 100, "x": 50}},
    served=(C, B, A),
)


def state(*pods: str, claim: WeightsClaim = CLAIM, told: str = "", **fields: Any) -> ClusterState:
    entry = {"name": "qwen", "podAnnotations": {REVISION_ANNOTATION: told}}
    values = {"servingEngineSpec": {"modelSpec": [entry] if told else []}}
    return ClusterState(
        Release(ReleaseState.DEPLOYED, values=values),
        claims={claim.model: claim},
        pods=tuple(EnginePod("qwen", "node", commit) for commit in pods),
        **fields,
    )


@pytest.mark.parametrize(
    ("running", "keep", "stays", "goes", "freed"),
    [
        ((C,), 2, (B, C), (A, D), 200),
        ((C,), 1, (C,), (A, B, D), 300),
        ((C,), 3, (A, B, C), (D,), 100),
        ((D,), 2, (C, D), (A, B), 200),
        ((A, C), 2, (A, B, C), (D,), 100),  # in the middle of a change both run
        ((), 2, (B, C), (A, D), 200),  # not deployed: those that answered last
        ((), 1, (C,), (A, B, D), 300),
    ],
)
def test_what_runs_stays_and_what_answered_last_before_it(
    running: tuple[str, ...], keep: int, stays: tuple[str, ...], goes: tuple[str, ...], freed: int
):
    (found,) = prunings(state(*running), keep)
    assert (found.keep, found.gone, found.bytes) == (stays, goes, freed)
    assert found.acts


def test_files_that_staying_commits_share_are_not_counted_as_freed():
    alone = replace(CLAIM, complete={A: 150, B: 150}, served=(A,))
    (found,) = prunings(state(A, claim=alone), 1)
    assert (found.gone, found.bytes) == ((B,), 100)


def test_what_helm_was_told_to_run_and_what_a_deployment_stands_for_stay():
    deployed = {"qwen": DeployedModel("qwen", 1, 0, A, "")}
    (found,) = prunings(state(told=D, deployments=deployed), 1)
    assert found.keep == (A, D)


def test_a_volume_with_nothing_to_remove_is_looked_at_only_when_it_is_named():
    tidy = replace(CLAIM, complete={C: 1}, served=(C,))
    assert prunings(state(C, claim=tidy), 2) == []
    (found,) = prunings(state(C, claim=tidy), 2, named=["qwen"])
    assert found.acts
    assert prunings(state(C), 2, named=["other"]) == []


@pytest.mark.parametrize("named", [[], ["qwen"]])
def test_a_volume_that_is_being_filled_or_deleted_is_left_alone(named: list[str]):
    (busy,) = prunings(state(C), 2, {"qwen"}, named)
    (leaving,) = prunings(state(C, claim=replace(CLAIM, leaving=True)), 2, (), named)
    assert not busy.acts
    assert not leaving.acts
    assert "left alone: its weights are being fetched" in pruning_rows([busy])[0]["note"]


def test_a_volume_goes_only_of_a_model_that_is_neither_listed_nor_deployed():
    (gone,) = prunings(state(), 2, listed={"other"})
    assert (gone.whole, gone.bytes, gone.agreed) == (True, 2**30, "qwen volume")
    unmarked = {"qwen": DeployedModel("qwen", 1, 1, "", "")}
    for used in (state(C), state(""), state(told=C), state(deployments=unmarked)):
        assert not any(one.whole for one in prunings(used, 2, listed=set()))
    assert not any(one.whole for one in prunings(state(), 2, listed={"qwen"}))
    assert not any(one.whole for one in prunings(state(), 2))


def test_what_was_agreed_to_is_told_from_anything_else():
    first, second = Pruning("q", gone=(A,)), Pruning("q", gone=(A, B))
    assert first.agreed != second.agreed


def job(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {MODEL_LABEL: "qwen"}}, "status": status}


def test_a_job_at_work_keeps_a_volume_from_being_pruned_and_one_that_ended_does_not():
    done = {"conditions": [{"type": "Complete", "status": "True"}]}
    assert busy_models([job("weights-qwen-aaaaaaaa")]) == {"qwen"}
    assert busy_models([job("weights-qwen-aaaaaaaa", **done), job("weights-qwen-prune")]) == set()
