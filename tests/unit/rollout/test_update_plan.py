"""What an update of one model plans, and when there is nothing to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    OLDER,
    a_model,
    aim,
    revision,
    serving,
)
from tests.unit.rollout.updating import (
    BOTH,
    LATER,
    SERVING,
    changed_since,
    decided,
    killed_after_helm,
)
from vllm_flows.differences import entries
from vllm_flows.errors import (
    BlockedError,
    ConfigurationError,
    NotDeployedError,
    RouterError,
)
from vllm_flows.observed import API_KEY_ANNOTATION, ClusterState
from vllm_flows.plan import Action
from vllm_flows.updating import why_not
from vllm_flows.waves import with_entries

pytestmark = pytest.mark.usefixtures("chart")


def test_an_update_plans_that_one_model_and_no_other():
    made = decided(SERVING)
    assert [step.model for step in made.plan.steps] == ["a"]
    before, after = entries(SERVING.release.values), entries(made.desired.values)
    assert after["b"] == before["b"]
    assert revision(after["a"]) == NEW


def test_what_models_yaml_no_longer_lists_serves_on():
    assert "b" in entries(decided(SERVING).desired.values)
    assert decided(SERVING).plan.steps[0].reason == "revision bbbbbbbb -> cccccccc"


def test_a_model_that_does_not_run_is_for_an_upgrade_to_bring():
    with pytest.raises(NotDeployedError, match="a is not deployed"):
        decided(serving(aim(a_model("b"), commit=OLD)))


def test_another_chart_is_for_an_upgrade_to_bring():
    other = replace(SERVING, release=replace(SERVING.release, chart_version="0.1.9"))
    with pytest.raises(ConfigurationError, match="another chart would change all"):
        decided(other)


def lagging() -> ClusterState:
    """Return what a run left that was killed between engines with a new key and the router."""
    values = SERVING.release.values
    marked = {API_KEY_ANNOTATION: "new"}
    engines = {
        name: {**entry, "podAnnotations": {**entry["podAnnotations"], **marked}}
        for name, entry in entries(values).items()
    }
    return replace(
        SERVING, release=replace(SERVING.release, values=with_entries(values, engines)), held={"a"}
    )


def test_where_the_router_has_not_got_the_key_an_install_comes_first():
    with pytest.raises(RouterError, match="the router does not have it yet") as caught:
        decided(lagging())
    assert caught.value.next_command == "vllm-flows install"


def test_where_all_went_back_from_a_new_key_an_update_is_none_the_worse():
    assert decided(replace(lagging(), held=frozenset())).plan.steps


def test_a_key_that_another_run_brings_is_waited_for():
    assert decided(replace(lagging(), at_work=True)).plan.steps


def test_what_stands_against_the_commit_blocks_it():
    made = decided(SERVING, custom_code=("modeling.py",))
    with pytest.raises(BlockedError):
        made.plan.raise_if_blocked()


@pytest.mark.parametrize(
    ("announced", "again", "refused", "why"),
    [
        (None, False, False, ""),
        (NEW, False, False, ""),
        (OLDER, False, False, "is at cccccccc by now, and no longer at aaaaaaaa"),
        (None, False, True, "was tried before and did not do (the answer has no text)"),
        (None, True, True, ""),
    ],
)
def test_events_that_come_late_and_commits_that_did_not_do_change_nothing(
    announced: str | None,
    again: bool,  # noqa: FBT001 -- a column of the table
    refused: bool,  # noqa: FBT001 -- a column of the table
    why: str,
):
    state = SERVING
    if refused:
        claim = replace(state.claims["a"], refused={NEW: "the answer has no text"})
        state = replace(state, claims={**state.claims, "a": claim})
    found = why_not(decided(state), announced, again=again)
    assert why in found if why else found == ""


def test_of_a_revision_that_the_hub_does_not_show_nobody_says_that_it_moved():
    assert why_not(decided(SERVING, ""), NEW, again=False) == ""


def test_a_commit_that_is_served_needs_no_update():
    found = why_not(decided(SERVING, OLD), None, again=False)
    assert found == "serves bbbbbbbb already"


def test_a_commit_that_runs_and_was_not_seen_to_answer_is_an_update_still():
    assert why_not(decided(killed_after_helm()), NEW, again=False) == ""
    held = replace(serving(aim(*BOTH)), held=frozenset({"a"}))
    assert why_not(decided(held), NEW, again=False) == ""
    other = replace(serving(aim(*BOTH)), held=frozenset({"b"}))
    assert why_not(decided(other), NEW, again=False) == "serves cccccccc already"


def test_replicas_that_models_yaml_says_since_are_for_an_upgrade_to_bring():
    (step,) = decided(killed_after_helm(), model=a_model("a", replicaCount=2)).plan.steps
    assert (step.action, step.gpus) == (Action.PROVE, 1)
    (step,) = decided(SERVING, model=a_model("a", replicaCount=0)).plan.steps
    assert (step.action, step.gpus) == (Action.UPDATE, 1)


@pytest.mark.parametrize("tip", [NEW, LATER])
@pytest.mark.parametrize("announced", [None, NEW])
@pytest.mark.parametrize(
    ("how", "action"),
    [
        ("scaled", Action.SCALE),
        ("stopped", Action.SCALE),
        ("template", Action.RESTART),
        ("volume", Action.BLOCKED),
    ],
)
def test_what_was_changed_before_it_could_be_asked_is_still_asked_first(
    how: str, action: Action, announced: str | None, tip: str
):
    made = decided(changed_since(how), tip, announced)
    (step,) = made.plan.steps
    assert (step.action, step.commit) == (action, NEW)
    assert why_not(made, announced, again=False) == ""


def test_what_only_embeds_serves_already_whatever_answered_under_its_name_before():
    pooling = a_model("a", vllmConfig={"runner": "pooling"})
    made = decided(killed_after_helm(), model=pooling)
    assert why_not(made, None, again=False) == "serves cccccccc already"
    (step,) = decided(killed_after_helm(complete={NEW: 1}), LATER, model=pooling).plan.steps
    assert step.action is Action.UPDATE
    assert not [note for note in step.notes if "was not seen to answer" in note]


@pytest.mark.parametrize("tip", [LATER, ""])
@pytest.mark.parametrize("announced", [None, NEW])
def test_what_runs_unproven_is_only_asked_wherever_its_revision_stands(
    tip: str, announced: str | None
):
    state = killed_after_helm(requested="main")
    made = decided(state, tip, announced)
    (step,) = made.plan.steps
    assert (step.action, step.commit, made.commit("a")) == (Action.PROVE, NEW, NEW)
    assert made.desired.values == state.release.values
    assert made.served(made.desired.models[0]).requested == "main"
    assert why_not(made, announced, again=False) == ""
    assert "cccccccc, which serves, comes first: nothing else is done now" in step.notes[0]


def test_a_way_back_that_was_interrupted_holds_until_the_next_install_as_after_a_rollback():
    made = decided(killed_after_helm(served=(OLD, NEW), requested="main"), OLD)
    assert made.commit("a") == NEW
    assert made.served(made.desired.models[0]).requested == NEW


def test_other_options_of_a_commit_that_answered_are_no_way_back():
    state = killed_after_helm(served=(NEW, OLD), requested="main")
    made = decided(state, LATER)
    assert made.commit("a") == NEW
    assert made.served(made.desired.models[0]).requested == "main"


def test_what_rests_cannot_be_asked_and_is_brought_further():
    state = killed_after_helm(complete={NEW: 1})
    deployed = replace(state.deployments["a"], replicas=0, ready=0)
    values = with_entries(state.release.values, {"a": entry_at_rest(state)})
    state = replace(
        state,
        release=replace(state.release, values=values),
        deployments={**state.deployments, "a": deployed},
    )
    made = decided(state, LATER)
    assert (made.commit("a"), why_not(made, None, again=False)) == (LATER, "")


def entry_at_rest(state: ClusterState) -> dict[str, Any]:
    """Return the model's entry of the release with no replicas."""
    return {**entries(state.release.values)["a"], "replicaCount": 0}


def test_what_was_announced_and_was_proven_meanwhile_does_not_lead_to_a_later_commit():
    state = serving(aim(*BOTH))
    assert why_not(decided(state, LATER, NEW), NEW, again=False) == "serves cccccccc already"
    assert decided(state, LATER).commit("a") == LATER
    newer = decided(killed_after_helm(), LATER, LATER)
    assert newer.commit("a") == LATER
    unseen = "cccccccc, which serves, was not seen to answer: `vllm-flows update a` asks it first"
    assert unseen in newer.plan.steps[0].notes
    stays = a_model("a", onFailure="keep")
    for state, told in (
        (killed_after_helm(), "cccccccc, which serves, was not seen to answer"),
        (replace(killed_after_helm(), held=frozenset("a")), unseen),
    ):
        assert told in decided(state, LATER, LATER, model=stays).plan.steps[0].notes
