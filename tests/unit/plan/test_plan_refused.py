"""A commit that was tried and did not do is not tried again unasked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.desired_and_deployed import (
    OTHER_SHA,
    SHA,
    a_model,
    as_deployed,
    desired,
    verdict,
)
from vllm_flows.desired import Desired, desired_state
from vllm_flows.models import Model
from vllm_flows.observed import ClusterState
from vllm_flows.plan import Action, Step
from vllm_flows.planner import make_plan

AIM = desired(a_model())


def refusing(commit: str = OTHER_SHA, aim: Desired = AIM, **fields: Any) -> ClusterState:
    """Return a cluster that serves SHA, and whose claim refuses a commit."""
    state = as_deployed(aim)
    claim = replace(state.claims["qwen"], refused={commit: "the answer has no text"}, **fields)
    return replace(state, claims={"qwen": claim})


def step(model: Model, state: ClusterState, commit: str = OTHER_SHA) -> Step:
    """Plan when the Hub says that the model's branch or tag is at that commit."""
    found = [verdict(model, commit)]
    (made, *_) = make_plan(desired_state([model], found, AIM.settings, None, state), state).steps
    return made


def test_a_branch_at_a_commit_that_did_not_do_stays_where_it_is_and_says_so():
    found = step(a_model(), refusing())
    assert (found.action, found.commit, found.order) == (Action.NONE, SHA, None)
    (note,) = found.notes
    assert "main is bbbbbbbb, which was tried and did not do (the answer has no text)" in note
    assert "stays at aaaaaaaa until it is another" in note
    assert "`vllm-flows update qwen --again` tries it again" in note


def test_the_next_commit_of_the_branch_is_tried():
    assert step(a_model(), refusing("c" * 40)).action is Action.UPDATE


def test_a_commit_that_models_yaml_names_is_tried_again():
    assert step(a_model(revision=OTHER_SHA), refusing()).action is Action.UPDATE


def test_what_stays_can_be_changed_otherwise():
    found = step(a_model(vllmConfig={"maxModelLen": 512}), refusing())
    assert (found.action, found.commit) == (Action.RESTART, SHA)


@pytest.mark.parametrize(
    "state",
    [
        refusing(complete={}),  # it could not be served without being fetched anew
        replace(refusing(), deployments={}),
        replace(refusing(), claims={}),
        refusing(aim=desired(Model(name="qwen", modelURL="org/other"))),
    ],
)
def test_without_anything_to_stay_at_it_is_tried(state: ClusterState):
    assert step(a_model(), state).commit == OTHER_SHA


def test_what_the_refused_commit_brings_stands_against_nothing():
    broken = replace(verdict(a_model(), OTHER_SHA), custom_code=("modeling.py",))
    made = desired_state([a_model()], [broken], AIM.settings, None, refusing())
    assert made.verdicts["qwen"].custom_code == ()
