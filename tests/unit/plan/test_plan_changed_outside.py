"""What somebody changed or removed by hand is named, and set right."""

from __future__ import annotations

from dataclasses import replace

from tests.unit.plan.desired_and_deployed import a_model, as_deployed, desired
from vllm_flows.drift import Drift
from vllm_flows.plan import Action
from vllm_flows.planner import make_plan


def test_a_deployment_deleted_by_hand_is_made_again():
    aim = desired(a_model("a"), a_model("b"))
    state = as_deployed(aim)
    state = replace(state, deployments={"a": state.deployments["a"]})
    plan = make_plan(aim, state)
    assert plan.release_reason == "missing Deployments: b"
    assert [step.action for step in plan.steps] == [Action.NONE, Action.CREATE]


def test_a_router_that_is_not_ready_is_told():
    aim = desired(a_model())
    (*_, note) = make_plan(aim, replace(as_deployed(aim), router_ready=False)).notes
    assert note.startswith("no pod of the router is ready (vllm-deployment-router)")
    gone = replace(as_deployed(aim), router=False, router_ready=False)
    assert not any("router" in note for note in make_plan(aim, gone).notes)


def test_a_router_deleted_by_hand_is_made_again():
    aim = desired(a_model())
    plan = make_plan(aim, replace(as_deployed(aim), router=False))
    assert plan.release_reason == "missing Deployments: router"


def test_replicas_changed_by_hand_are_set_right():
    aim = desired(a_model())
    state = as_deployed(aim)
    scaled = replace(state.deployments["qwen"], replicas=0)
    plan = make_plan(aim, replace(state, deployments={"qwen": scaled}))
    assert plan.steps[0].action is Action.SCALE
    assert plan.release_reason == "changed outside: qwen"


ROUTER_DRIFT = Drift("Service", "vllm-router-service", ("spec.ports[0].port: 80 -> 81",))
IMAGE_DRIFT = Drift("Deployment", "vllm-qwen-deployment-vllm", ("spec.template.x: 1 -> 2",))


def test_what_somebody_changed_on_the_release_is_said_before_it_is_set_right():
    aim = desired(a_model())
    plan = make_plan(aim, replace(as_deployed(aim), drifts=(ROUTER_DRIFT,)))
    assert plan.steps[0].action is Action.NONE
    assert plan.release_reason == f"changed outside: {ROUTER_DRIFT.text}"


def test_drift_is_named_beside_what_models_yaml_changes():
    aim = desired(a_model())
    state = replace(as_deployed(aim), drifts=(ROUTER_DRIFT,))
    plan = make_plan(desired(a_model(vllmConfig={"maxModelLen": 512})), state)
    assert plan.release_reason == f"values changed; changed outside: {ROUTER_DRIFT.text}"


def test_an_engine_that_somebody_changed_is_restarted_and_the_reason_names_the_field():
    aim = desired(a_model())
    plan = make_plan(aim, replace(as_deployed(aim), drifts=(IMAGE_DRIFT,)))
    assert (plan.steps[0].action, plan.steps[0].reason) == (
        Action.RESTART,
        f"changed outside: {IMAGE_DRIFT.text}",
    )
