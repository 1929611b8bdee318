"""What the release itself makes a plan do: as helm left it, and by another chart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.plan.desired_and_deployed import a_model, as_deployed, desired
from vllm_flows.drift import Drift
from vllm_flows.errors import ReleaseError
from vllm_flows.observed import ClusterState, Release, ReleaseState
from vllm_flows.plan import Action
from vllm_flows.planner import make_plan


def test_a_revision_that_helm_lost_is_not_called_somebodys_change():
    aim = desired(a_model())
    args = "spec.template.spec.containers[vllm].args[5]: 4096 -> 8192"
    drift = Drift("Deployment", "vllm-qwen-deployment-vllm", (args,))
    found = as_deployed(aim)
    lost = replace(found.release, state=ReleaseState.FAILED, status="superseded", revision=2)
    plan = make_plan(aim, replace(found, release=lost, drifts=(drift,)))
    assert plan.release_reason == (
        "helm's newest revision is lost; the newest that it knows is 2; "
        f"not as in revision 2: {drift.text}"
    )
    assert plan.steps[0].reason == f"not as in revision 2: {drift.text}"


def test_a_failed_release_is_upgraded_even_when_its_values_are_right():
    aim = desired(a_model())
    state = as_deployed(aim)
    failed = replace(state.release, state=ReleaseState.FAILED, status="failed")
    assert make_plan(aim, replace(state, release=failed)).release_reason


def test_a_release_that_is_not_ours_to_touch_is_refused():
    release = Release(ReleaseState.UNMANAGED, 2, "0.1.8", "deployed", namespace="ns")
    with pytest.raises(ReleaseError) as caught:
        make_plan(desired(a_model()), ClusterState(release))
    assert "helm -n ns uninstall vllm" in caught.value.next_command


def test_a_release_that_helm_left_unfinished_is_brought_to_its_end():
    aim = desired(a_model())
    state = as_deployed(aim)
    pending = replace(state.release, state=ReleaseState.PENDING_UPGRADE, status="pending-upgrade")
    plan = make_plan(aim, replace(state, release=pending))
    assert plan.release_reason == "the last helm run left it pending-upgrade"


ENGINE, ROUTER = "vllm-qwen-deployment-vllm", "vllm-deployment-router"
OLD_SELECTORS = {ENGINE: {"model": "qwen"}, ROUTER: {"environment": "router"}}
NEW_SELECTORS = {name: {**labels, "part-of": "x"} for name, labels in OLD_SELECTORS.items()}


@pytest.mark.parametrize(
    ("there", "wanted"), [(OLD_SELECTORS, NEW_SELECTORS), (NEW_SELECTORS, OLD_SELECTORS)]
)
def test_deployments_that_a_chart_lets_select_other_pods_are_named_before(there: Any, wanted: Any):
    state = replace(as_deployed(desired(a_model())), selectors=there)
    plan = make_plan(replace(desired(a_model(), version="0.1.10"), selectors=wanted), state)
    assert plan.replaced == (ROUTER, ENGINE)
    (note, *_) = plan.notes
    assert "2 Deployments are made anew, as by this chart they select other pods" in note
    assert f"{ROUTER}, {ENGINE}" in note


def test_what_was_handed_over_by_an_interrupted_run_is_not_named_again():
    state = replace(as_deployed(desired(a_model())), selectors=NEW_SELECTORS)
    plan = make_plan(replace(desired(a_model(), version="0.1.10"), selectors=NEW_SELECTORS), state)
    assert plan.replaced == ()


def test_pods_that_no_deployment_could_take_over_are_a_refusal():
    state = replace(as_deployed(desired(a_model())), selectors=OLD_SELECTORS)
    other = replace(desired(a_model(), version="1.0"), selectors={ENGINE: {"model": "other"}})
    with pytest.raises(ReleaseError, match="cannot replace Deployment") as caught:
        make_plan(other, state)
    assert "other values of model" in caught.value.why


def test_another_chart_makes_other_pods_of_all_models_at_once():
    state = as_deployed(desired(a_model()))
    plan = make_plan(desired(a_model(), version="0.1.9"), state)
    (step,) = plan.steps
    assert plan.release_reason == "chart 0.1.8 -> 0.1.9"
    assert plan.together
    assert (step.action, step.reason) == (Action.RESTART, "chart 0.1.8 -> 0.1.9")


def test_a_deployment_of_which_only_the_replica_set_is_left_is_made_again():
    aim = desired(a_model())
    plan = make_plan(aim, replace(as_deployed(aim), left=frozenset({ENGINE})))
    assert plan.release_reason == "missing Deployments: qwen"
    assert [step.action for step in plan.steps] == [Action.NONE]
