"""What a plan does while the Hub does not answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.desired_and_deployed import OTHER_SHA, SHA, a_model, as_deployed, desired
from vllm_flows.desired import Desired, desired_state
from vllm_flows.errors import HubUnavailableError
from vllm_flows.models import Model
from vllm_flows.observed import Access, ClusterState, Description, Verdict
from vllm_flows.plan import Action, Plan
from vllm_flows.planner import make_plan

SILENCE = HubUnavailableError("the Hub does not answer")


def silent(model: Model) -> Verdict:
    return Verdict(model.name, model.model_url, access=Access.SILENT, problems=(SILENCE,))


def seen(aim: Desired, state: ClusterState, *models: Model) -> Plan:
    """Plan with a Hub that is silent on every model."""
    verdicts = [silent(model) for model in models]
    return make_plan(desired_state(models, verdicts, aim.settings, None, state), state)


def test_a_hub_that_is_silent_does_not_stop_a_model_that_is_deployed():
    model = a_model()
    aim = desired(model)
    plan = seen(aim, as_deployed(aim), model)
    assert not plan.changes
    assert plan.steps[0].action is Action.NONE
    assert "stays at aaaaaaaa, which is on the volume" in plan.steps[0].notes[0]


@pytest.mark.parametrize(
    "changed",
    [
        Model(name="qwen", modelURL="org/other"),
        Model(name="qwen", modelURL="org/qwen", revision=OTHER_SHA),
        Model(name="new", modelURL="org/new"),
    ],
)
def test_what_only_the_hub_can_tell_stays_blocked_by_its_silence(changed: Model):
    aim = desired(a_model())
    (step, *_) = seen(aim, as_deployed(aim), changed).steps
    assert (step.action, step.problems) == (Action.BLOCKED, (SILENCE,))


def test_a_silent_hub_lets_a_deployed_model_be_changed_otherwise():
    aim = desired(a_model())
    (step,) = seen(aim, as_deployed(aim), a_model(replicaCount=2)).steps
    assert step.action is Action.SCALE


SHAPE = {"architectures": ["Qwen3ForCausalLM"], "max_position_embeddings": 4096} | {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "intermediate_size": 128,
}


def remembering(state: ClusterState, **fields: Any) -> ClusterState:
    """Return the state with a claim that tells more of the model `qwen`."""
    return replace(state, claims={"qwen": replace(state.claims["qwen"], **fields)})


def test_a_branch_that_changes_while_the_hub_is_silent_is_blocked_by_its_silence():
    aim = desired(a_model())
    known = remembering(as_deployed(aim), requested="main")
    assert seen(aim, known, a_model()).steps[0].action is Action.NONE
    (step,) = seen(aim, known, a_model(revision="v2")).steps
    assert (step.action, step.problems) == (Action.BLOCKED, (SILENCE,))


def test_another_commit_on_the_volume_is_taken_while_the_hub_is_silent():
    aim = desired(a_model())
    there = remembering(as_deployed(aim), complete={SHA: 1, OTHER_SHA: 1}, requested="main")
    (step,) = seen(aim, there, a_model(revision=OTHER_SHA)).steps
    assert (step.action, step.commit) == (Action.UPDATE, OTHER_SHA)
    assert f"takes {OTHER_SHA[:8]}, which is on the volume" in step.notes[0]


def test_options_that_change_while_the_hub_is_silent_are_checked_by_what_the_claim_tells():
    aim = desired(a_model())
    described = {SHA: Description(SHAPE, {"BF16": 1000})}
    known = remembering(as_deployed(aim), described=described)
    (step,) = seen(aim, known, a_model(vllmConfig={"maxModelLen": 999_999})).steps
    assert step.action is Action.BLOCKED
    assert "maxModelLen 999999 is longer than the model's context" in step.reason
    (step,) = seen(aim, known, a_model(vllmConfig={"maxModelLen": 4096})).steps
    assert step.action is Action.RESTART


def test_options_that_change_while_the_hub_is_silent_are_said_to_be_unchecked():
    aim = desired(a_model())
    changed = a_model(vllmConfig={"maxModelLen": 999_999})
    (step,) = seen(aim, as_deployed(aim), changed).steps
    assert step.action is Action.RESTART
    assert "not checked whether vLLM takes the changed options" in step.notes[1]
