"""Which commits are remembered as those that did not do, and with which reason."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    RUBBISH,
    Tasks,
    a_model,
    aim,
    digests,
    failure,
    serving,
)
from vllm_flows.completions import KeyRefusedError, UnprotectedError, UnreachedError
from vllm_flows.desired import Desired
from vllm_flows.diagnosis_categories import Category
from vllm_flows.errors import (
    NO_ANSWER,
    CompletionError,
    NotReadyError,
    TimedOutError,
    VllmFlowsError,
    WorseError,
)
from vllm_flows.going_back import Past
from vllm_flows.observed import ClusterState, Description

SHORT, LONG = {"max_position_embeddings": 2048}, {"max_position_embeddings": 4096}


def unready(category: Category) -> NotReadyError:
    return NotReadyError(f"what is so [{category}]", why="exit code 1\nmore", category=category)


def late(category: str) -> TimedOutError:
    return TimedOutError("not ready after 20 s", why=f"what [{category}]", category=category)


def of_config(config: dict[str, Any], *models: Any) -> Desired:
    """Return what is aimed at where the new commit has this configuration."""
    desired = aim(*models)
    verdicts = {name: replace(verdict, config=config) for name, verdict in desired.verdicts.items()}
    return replace(desired, verdicts=verdicts)


def knowing(config: dict[str, Any]) -> ClusterState:
    """Return a cluster that serves the old commit, whose configuration was this."""
    state = serving(aim(a_model(), commit=OLD))
    claim = replace(state.claims["qwen"], described={OLD: Description(config)})
    return replace(state, claims={"qwen": claim})


def refused(
    tasks: Tasks, error: VllmFlowsError, desired: Desired | None = None, state: Any = None
) -> str:
    """Return what is held against the commit when the model fails by this and goes back."""
    tasks.failing = {"qwen": [error]}
    failure(tasks, desired or aim(a_model()), state or serving(aim(a_model(), commit=OLD)))
    commit, why = tasks.refused.get("qwen", (NEW, ""))
    assert commit == NEW
    return why


def test_a_commit_that_did_not_do_is_remembered_with_why(tasks: Tasks):
    assert refused(tasks, RUBBISH) == "the answer has no text"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (unready(Category.GPU_MEMORY), "what is so [gpu-memory]: exit code 1"),
        (unready(Category.CRASH_LOOP), "what is so [crash-loop]: exit code 1"),
        (late(Category.LOADING), "not ready after 20 s: what [loading]"),
        (late(NO_ANSWER), "not ready after 20 s: what [no-answer]"),
        (WorseError("its answers are worse than before: slow"),) * 2,
    ],
)
def test_what_the_engine_does_with_the_commit_is_held_against_it(
    tasks: Tasks, error: VllmFlowsError, why: object
):
    assert refused(tasks, error) == (why if isinstance(why, str) else error.what)


@pytest.mark.parametrize(
    "error",
    [
        unready(Category.NO_FREE_GPU),
        unready(Category.ENGINE_ARGUMENT),
        unready(Category.WEIGHTS_MISSING),
        unready(Category.GPU_IN_USE),
        late(Category.NO_FREE_GPU),
        late(Category.STARTING),
        late(""),
        UnreachedError("the way to the replica broke off"),
        KeyRefusedError("the API key was refused"),
        UnprotectedError("answers without the API key"),
    ],
)
def test_what_is_not_the_commits_fault_is_not_held_against_it(tasks: Tasks, error: VllmFlowsError):
    assert refused(tasks, error) == ""


OF_THE_CONFIGURATION = [
    Category.KV_CACHE,
    Category.CONTEXT_TOO_LONG,
    Category.TENSOR_PARALLEL,
    Category.ENGINE_CONFIGURATION,
]


@pytest.mark.parametrize("category", OF_THE_CONFIGURATION)
@pytest.mark.parametrize(("before", "told"), [(LONG, True), (SHORT, False), ({}, False)])
def test_what_follows_from_the_configuration_is_the_commits_fault_where_it_has_another(
    tasks: Tasks, category: Category, before: dict[str, Any], *, told: bool
):
    found = refused(tasks, unready(category), of_config(SHORT, a_model()), knowing(before))
    assert bool(found) is told


@pytest.mark.parametrize("error", [RUBBISH, unready(Category.CRASH_LOOP)])
@pytest.mark.parametrize(
    "changed",
    [
        aim(a_model(vllmConfig={"extraArgs": ["--no-such-flag"]})),
        aim(a_model(), runtime_class="other"),
        aim(a_model(), chart="0.1.9"),
    ],
)
def test_where_more_than_the_commit_changed_nobody_knows_that_it_was_the_commit(
    tasks: Tasks, error: VllmFlowsError, changed: Desired
):
    assert refused(tasks, error, changed) == ""


def test_more_replicas_are_no_other_options(tasks: Tasks):
    assert refused(tasks, RUBBISH, aim(a_model(replicaCount=2)))


def test_another_configuration_that_did_not_do_is_not_held_against_the_commit(tasks: Tasks):
    changed = aim(a_model(vllmConfig={"maxModelLen": 512}))
    assert refused(tasks, RUBBISH, changed, serving(aim(a_model()))) == ""


def test_a_commit_is_refused_only_where_another_one_serves_again(tasks: Tasks):
    tasks.failing = {"qwen": [RUBBISH, RUBBISH]}
    failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    assert tasks.refused == {}
    kept = a_model(onFailure="keep")
    assert refused(tasks, RUBBISH, aim(kept), serving(aim(kept, commit=OLD))) == ""


def test_a_commit_that_a_killed_run_brought_is_remembered_by_the_run_that_takes_it_back(
    tasks: Tasks,
):
    before = aim(a_model(), commit=OLD)
    tasks.kept = {digests(before)["qwen"]: Past(1, "0.1.8", before.values)}
    found = refused(tasks, RUBBISH, aim(a_model()), serving(aim(a_model()), digests(before)))
    assert found == "the answer has no text"


def test_options_that_a_killed_run_brought_with_a_commit_are_not_held_against_it(tasks: Tasks):
    before = aim(a_model(vllmConfig={"maxModelLen": 512}), commit=OLD)
    tasks.kept = {digests(before)["qwen"]: Past(1, "0.1.8", before.values)}
    assert refused(tasks, RUBBISH, aim(a_model()), serving(aim(a_model()), digests(before))) == ""


def test_of_a_refused_commit_the_command_that_tries_it_again_is_told(tasks: Tasks):
    tasks.failing = {"qwen": [RUBBISH]}
    told = failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    first, again, look = told.next_command.splitlines()
    assert first == "look at the answer"
    assert again == "after that: vllm-flows update qwen --again   (it is not tried again by itself)"
    assert "name the commit in models.yaml, with onFailure: keep" in look


def test_of_a_refused_commit_that_models_yaml_names_what_stays_with_the_served_one_is_told(
    tasks: Tasks,
):
    tasks.failing = {"qwen": [RUBBISH]}
    named = a_model(revision=NEW)
    told = failure(tasks, aim(named), serving(aim(named, commit=OLD)))
    first, stay, look = told.next_command.splitlines()
    assert first == "look at the answer"
    assert stay == (
        f"after that: write revision: {OLD} for qwen in models.yaml, and it stays at what serves   "
        "(cccccccc is named there: the next vllm-flows upgrade tries it again)"
    )
    assert look.startswith("or set onFailure: keep there")
    assert "by itself" not in told.next_command
    assert tasks.refused["qwen"] == (NEW, "the answer has no text")


def test_what_answers_and_is_worse_is_not_said_to_be_silent(tasks: Tasks):
    tasks.failing = {"qwen": [WorseError("its answers are worse than before: slow")]}
    told = failure(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    assert told.what.startswith("after its change it answers worse than before: bbbbbbbb serves")


def test_beside_one_that_is_silent_nobody_only_answers_worse(tasks: Tasks):
    models = (a_model("a"), a_model("b"))
    tasks.failing = {"a": [WorseError("slow")], "b": [CompletionError("the answer has no text")]}
    told = failure(tasks, aim(*models, runtime_class="other"), serving(aim(*models)))
    assert told.what.startswith("after its change it does not answer: ")
