"""What a plan does with each model, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.desired_and_deployed import (
    NOTHING,
    OTHER_SHA,
    SHA,
    a_model,
    as_deployed,
    desired,
    on_nodes,
    verdict,
)
from vllm_flows.chart import Chart
from vllm_flows.models import Model
from vllm_flows.observed import Description, EnginePod, WeightsClaim
from vllm_flows.plan import Action, ClaimAction
from vllm_flows.planner import make_plan
from vllm_flows.report import models_data

TWO = {"tensorParallelSize": 2}


def test_on_an_empty_cluster_every_model_is_created():
    plan = make_plan(desired(a_model("a"), a_model("b")), NOTHING)
    assert [(step.model, step.action) for step in plan.steps] == [
        ("a", Action.CREATE),
        ("b", Action.CREATE),
    ]
    assert [step.download_bytes for step in plan.steps] == [1000, 1000]
    assert plan.release_reason == "not installed"


def test_a_cluster_that_is_as_it_should_be_is_left_alone():
    aim = desired(a_model("a"), a_model("b", replicaCount=2))
    plan = make_plan(aim, as_deployed(aim))
    assert {step.action for step in plan.steps} == {Action.NONE}
    assert not plan.changes


@pytest.mark.parametrize(
    ("fields", "proven", "action", "told"),
    [
        ({}, "of-before", Action.PROVE, "goes back if it does not answer"),
        ({"onFailure": "retry"}, "of-before", Action.PROVE, "goes back if it does not answer"),
        ({"onFailure": "keep"}, "of-before", Action.PROVE, "stays if it does not answer"),
        ({}, "", Action.PROVE, "not yet seen to answer"),
        ({"replicaCount": 0}, "of-before", Action.NONE, "as it should be"),
        ({"vllmConfig": {"runner": "pooling"}}, "", Action.NONE, "as it should be"),
    ],
)
def test_a_model_that_was_not_seen_to_answer_as_it_is_deployed_is_to_be_proven(
    fields: dict[str, Any], proven: str, action: Action, told: str
):
    aim = desired(a_model("a", **fields))
    state = as_deployed(aim)
    claim = replace(state.claims["a"], answered=tuple(proven.split()))
    plan = make_plan(aim, replace(state, claims={"a": claim}))
    (step,) = plan.steps
    assert step.action is action
    assert told in step.reason
    assert ("not proven" in step.reason) is plan.changes is (action is Action.PROVE)
    assert not plan.release_reason


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (1, 2, "replicas 1 -> 2; not proven: it is asked first; goes back if it does not answer"),
        (0, 2, "replicas 0 -> 2"),
        (2, 0, "replicas 2 -> 0"),
    ],
)
def test_more_or_fewer_replicas_of_what_was_not_seen_to_answer_take_a_proof_first(
    before: int, after: int, told: str
):
    state = as_deployed(desired(a_model("a", replicaCount=before)))
    claim = replace(state.claims["a"], answered=("of-before",))
    plan = make_plan(desired(a_model("a", replicaCount=after)), replace(state, claims={"a": claim}))
    assert (plan.steps[0].action, plan.steps[0].reason) == (Action.SCALE, told)


@pytest.mark.parametrize(
    ("served", "license_", "gated", "told"),
    [
        (
            Description(license="mit", gated="no"),
            "sandbox-1",
            "auto",
            (
                "its license was mit and is sandbox-1 now",
                "its gate was 'no' and is 'auto' now",
            ),
        ),
        (Description(license="mit", gated="no"), "mit", "no", ()),
        (Description(), "sandbox-1", "auto", ()),
    ],
)
def test_a_plan_says_when_the_terms_of_the_new_commit_are_other_ones(
    served: Description, license_: str, gated: str, told: tuple[str, ...]
):
    model = a_model("a")
    state = as_deployed(desired(model))
    claim = replace(state.claims["a"], described={SHA: served})
    found = verdict(model, OTHER_SHA, license=license_, gated=gated)
    (step,) = make_plan(desired(model, verdicts=[found]), replace(state, claims={"a": claim})).steps
    assert tuple(note for note in step.notes if note.startswith("its ")) == told


def test_to_be_proven_is_no_change_of_the_release_even_beside_one():
    before = desired(a_model("a"))
    state = as_deployed(before)
    state = replace(state, claims={"a": replace(state.claims["a"], answered=("of-before",))})
    plan = make_plan(desired(a_model("a"), a_model("b")), state)
    assert [step.action for step in plan.steps] == [Action.PROVE, Action.CREATE]
    assert plan.release_reason == "values changed"


def test_adding_one_model_and_removing_one_touches_only_these_two():
    before = desired(a_model("a"), a_model("b"), a_model("c"))
    after = desired(a_model("a"), a_model("b"), a_model("d"))
    plan = make_plan(after, as_deployed(before))
    assert {step.model: step.action for step in plan.steps} == {
        "a": Action.NONE,
        "b": Action.NONE,
        "d": Action.CREATE,
        "c": Action.DESTROY,
    }
    assert "weights stay" in plan.steps[-1].reason


@pytest.mark.parametrize(
    ("fields", "action", "reason"),
    [
        ({"replicaCount": 3}, Action.SCALE, "replicas 1 -> 3"),
        ({"requestMemory": "32Gi"}, Action.RESTART, "requestMemory 16Gi -> 32Gi"),
        (
            {"vllmConfig": {"maxModelLen": 4096}},
            Action.RESTART,
            "vllmConfig.maxModelLen (not set) -> 4096",
        ),
        (
            {"vllmConfig": {"extraArgs": ["--enforce-eager"]}},
            Action.RESTART,
            "vllmConfig.extraArgs [...] -> [... --enforce-eager]",
        ),
    ],
)
def test_a_changed_field_is_the_reason_for_the_action(
    fields: dict[str, Any], action: Action, reason: str
):
    (step,) = make_plan(desired(a_model(**fields)), as_deployed(desired(a_model()))).steps
    assert (step.action, step.reason) == (action, reason)


def test_a_new_api_key_is_the_reason_for_a_restart():
    before, after = (desired(a_model(), api_key=version) for version in ("v1", "v2"))
    (step,) = make_plan(after, as_deployed(before)).steps
    assert (step.action, step.reason) == (Action.RESTART, "the API key changed")


def test_a_new_commit_is_an_update_with_its_bytes_to_download():
    model = a_model()
    aim = desired(model, verdicts=[verdict(model, OTHER_SHA)])
    (step,) = make_plan(aim, as_deployed(desired(model))).steps
    assert (step.action, step.download_bytes) == (Action.UPDATE, 1000)
    assert step.reason == "revision aaaaaaaa -> bbbbbbbb"


def test_another_repository_is_said_beside_its_commit():
    before, after = a_model(), Model(name="qwen", modelURL="org/other")
    aim = desired(after, verdicts=[verdict(after, OTHER_SHA)])
    (step,) = make_plan(aim, as_deployed(desired(before))).steps
    assert step.action is Action.UPDATE
    assert step.reason == "modelURL org/qwen -> org/other, revision aaaaaaaa -> bbbbbbbb"


def test_a_release_that_does_not_tell_the_repository_is_told_of_the_commit_alone():
    model = a_model()
    state = as_deployed(desired(model))
    untold = replace(state, release=replace(state.release, values={}))
    aim = desired(model, verdicts=[verdict(model, OTHER_SHA)])
    assert make_plan(aim, untold).steps[0].reason == "revision aaaaaaaa -> bbbbbbbb"


def test_weights_that_are_complete_on_the_volume_are_not_fetched_again():
    model = a_model()
    state = replace(NOTHING, claims={model.name: WeightsClaim(model.name, "50Gi", {SHA: 1})})
    (step,) = make_plan(desired(model), state).steps
    assert step.download_bytes == 0


@pytest.mark.parametrize(
    ("wanted", "there", "claim", "note"),
    [
        ("80Gi", "50Gi", ClaimAction.GROW, "; its volume grows from 50Gi to 80Gi"),
        ("0.1Ti", "102.4Gi", ClaimAction.NONE, ""),
        ("20Gi", "50Gi", ClaimAction.NONE, "; its volume stays 50Gi, volumes do not shrink"),
    ],
)
def test_a_volume_can_grow_and_never_shrinks(
    wanted: str, there: str, claim: ClaimAction, note: str
):
    aim = desired(a_model(pvcStorage=wanted))
    state = as_deployed(aim)
    state = replace(state, claims={"qwen": replace(state.claims["qwen"], size=there)})
    plan = make_plan(aim, state)
    assert plan.steps[0].claim is claim
    assert plan.steps[0].reason == "as it should be" + note
    assert plan.changes is (claim is ClaimAction.GROW)


def test_a_new_revision_names_the_other_fields_that_change_with_it():
    state = as_deployed(desired(a_model()))
    changed = a_model(vllmConfig={"maxModelLen": 512})
    newer = desired(changed, verdicts=[verdict(changed, OTHER_SHA)])
    (step,) = make_plan(newer, state).steps
    assert step.action is Action.UPDATE
    assert step.reason == ("vllmConfig.maxModelLen (not set) -> 512, revision aaaaaaaa -> bbbbbbbb")


def test_the_weights_are_ordered_with_what_has_to_stay(make: Any):
    model = a_model()
    state = on_nodes(as_deployed(desired(model)), make.node("a"), make.node("b"))
    claim = WeightsClaim("qwen", "80Gi", {SHA: 1000}, served=(SHA, "0" * 40))
    state = replace(state, claims={"qwen": claim}, pods=(EnginePod("qwen", "b", SHA),))
    (step,) = make_plan(desired(model, verdicts=[verdict(model, OTHER_SHA)]), state).steps
    assert step.order
    assert (step.order.keep, step.order.before) == ((SHA,), "0" * 40)
    assert step.order.nodes == ("b",)
    assert step.order.budget == 80 * 1024**3


def test_a_repository_without_bytes_is_ordered_all_the_same():
    model = a_model()
    (step,) = make_plan(desired(model, verdicts=[verdict(model, size=0)]), NOTHING).steps
    assert step.order
    assert step.download_bytes == 0


def test_the_plan_notes_a_version_in_the_environment_that_the_charts_folder_overrules(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("VLLM_CHART_VERSION", "0.1.9")
    aim = replace(desired(a_model()), chart=Chart("/charts/vllm-stack", (), "0.1.8"))
    assert "VLLM_CHART_VERSION=0.1.9 counts for nothing" in make_plan(aim, NOTHING).notes[0]


def test_the_models_of_a_plan_as_data_have_stable_keys(make: Any):
    aim = desired(a_model("good"), a_model("large", requestGPU=2, vllmConfig=TWO))
    state = on_nodes(NOTHING, make.node("a", 1))
    good, large = models_data(make_plan(aim, state))
    known = "model action reason wanted modelURL revision gpus downloadBytes"
    assert list(good) == list(large) == f"{known} access fit nodes problems notes".split()
    assert good["nodes"] == ["a"]
    assert good["access"] == {
        "state": "open",
        "gated": "no",
        "license": "",
        "bytes": 1000,
        "safetensors": True,
        "customCode": [],
        "unsafeFiles": [],
    }
    assert (good["downloadBytes"], large["downloadBytes"]) == (1000, None)
    (problem,) = large["problems"]
    assert set(problem) == {"what", "why", "next"}
