from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.support import LLAMA_70B
from vllm_flows.chart import Chart
from vllm_flows.desired import Desired, desired_state
from vllm_flows.drift import Drift
from vllm_flows.errors import AccessError, BlockedError, HubUnavailableError, ReleaseError
from vllm_flows.models import Model
from vllm_flows.observed import (
    DIGEST_ANNOTATION,
    Access,
    ClusterState,
    DeployedModel,
    Description,
    EnginePod,
    HubFile,
    Release,
    ReleaseState,
    Surroundings,
    Verdict,
    WeightsClaim,
)
from vllm_flows.plan import Action, ClaimAction, Plan
from vllm_flows.planner import make_plan
from vllm_flows.report import models_data
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values

SHA = "a" * 40
OTHER_SHA = "b" * 40


def a_model(name: str = "qwen", **fields: Any) -> Model:
    return Model(name=name, modelURL=f"org/{name}", **fields)


def verdict(model: Model, commit: str = SHA, size: int = 1000, **fields: Any) -> Verdict:
    files = (HubFile("model.safetensors", size),)
    return Verdict(model.name, model.model_url, commit, files=files, **fields)


def desired(
    *models: Model,
    verdicts: list[Verdict] | None = None,
    version: str = "0.1.8",
    api_key: str | None = None,
) -> Desired:
    settings = load_settings()
    found = verdicts or [verdict(model) for model in models]
    pinned = [
        PinnedModel(model, given.commit)
        for model, given in zip(models, found, strict=True)
        if not given.problems
    ]
    return Desired(
        models,
        {given.model: given for given in found},
        release_values(pinned, settings, api_key, version),
        Chart("vllm-stack", (), version),
        settings,
    )


def as_deployed(aim: Desired) -> ClusterState:
    """Return the state of a cluster in which `aim` was reached, and every model answered."""
    entries = aim.values["servingEngineSpec"]["modelSpec"]
    return ClusterState(
        Release(ReleaseState.DEPLOYED, 3, aim.chart.version, "deployed", aim.values),
        {entry["name"]: deployment(entry) for entry in entries},
        {
            model.name: WeightsClaim(
                model.name,
                model.pvc_storage,
                complete={SHA: 1000},
                answered=(entry["podAnnotations"][DIGEST_ANNOTATION],),
            )
            for model, entry in zip(aim.models, entries, strict=True)
        },
        router=True,
    )


def deployment(entry: Mapping[str, Any]) -> DeployedModel:
    replicas = entry["replicaCount"]
    digest = entry["podAnnotations"][DIGEST_ANNOTATION]
    return DeployedModel(entry["name"], replicas, replicas, SHA, digest)


NOTHING = ClusterState(Release(ReleaseState.ABSENT))


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


def test_one_refused_model_blocks_the_whole_run_with_its_next_command():
    good, bad = a_model("good"), a_model("bad")
    problem = AccessError("gated", why="no token", next_command="accept it", model="bad")
    aim = desired(
        good, bad, verdicts=[verdict(good), Verdict("bad", "org/bad", problems=(problem,))]
    )
    plan = make_plan(aim, NOTHING)
    assert [step.action for step in plan.steps] == [Action.CREATE, Action.BLOCKED]
    with pytest.raises(BlockedError) as caught:
        plan.raise_if_blocked()
    assert "1 of 2 models cannot be served; nothing was changed" in str(caught.value)
    assert "bad: gated (no token)" in str(caught.value)
    assert "next: accept it" in str(caught.value)


def test_a_volume_too_small_for_the_weights_blocks_before_a_byte_is_fetched():
    model = a_model(pvcStorage="1Gi")
    aim = desired(model, verdicts=[verdict(model, size=2 * 1024**3)])
    (step,) = make_plan(aim, NOTHING).steps
    assert step.action is Action.BLOCKED
    assert step.problems[0].next_command == "set pvcStorage: 3Gi in models.yaml"


def test_a_deployment_deleted_by_hand_is_made_again():
    aim = desired(a_model("a"), a_model("b"))
    state = as_deployed(aim)
    state = replace(state, deployments={"a": state.deployments["a"]})
    plan = make_plan(aim, state)
    assert plan.release_reason == "missing Deployments: b"
    assert [step.action for step in plan.steps] == [Action.NONE, Action.CREATE]


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


def test_a_claim_that_is_being_deleted_blocks_with_the_way_out():
    aim = desired(a_model())
    claim = WeightsClaim("qwen", "50Gi", complete={SHA: 1}, leaving=True)
    (step,) = make_plan(aim, replace(as_deployed(aim), claims={"qwen": claim})).steps
    assert "is being deleted" in step.problems[0].what


def test_a_failed_release_is_upgraded_even_when_its_values_are_right():
    aim = desired(a_model())
    state = as_deployed(aim)
    failed = replace(state.release, state=ReleaseState.FAILED, status="failed")
    assert make_plan(aim, replace(state, release=failed)).release_reason


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


def test_a_new_revision_names_the_other_fields_that_change_with_it():
    state = as_deployed(desired(a_model()))
    changed = a_model(vllmConfig={"maxModelLen": 512})
    newer = desired(changed, verdicts=[verdict(changed, OTHER_SHA)])
    (step,) = make_plan(newer, state).steps
    assert step.action is Action.UPDATE
    assert step.reason == ("vllmConfig.maxModelLen (not set) -> 512, revision aaaaaaaa -> bbbbbbbb")


def test_an_engine_that_somebody_changed_is_restarted_and_the_reason_names_the_field():
    aim = desired(a_model())
    plan = make_plan(aim, replace(as_deployed(aim), drifts=(IMAGE_DRIFT,)))
    assert (plan.steps[0].action, plan.steps[0].reason) == (
        Action.RESTART,
        f"changed outside: {IMAGE_DRIFT.text}",
    )


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


def on_nodes(state: ClusterState, *nodes: Any, pods: Any = ()) -> ClusterState:
    return replace(state, around=Surroundings(nodes=nodes, pods=tuple(pods)))


def test_gpus_of_unknown_size_are_told_once_where_a_models_fit_hangs_on_it(make: Any):
    unlabelled = [make.node(name, **{"nvidia.com/gpu.memory": "unknown"}) for name in "abcd"]
    state = on_nodes(NOTHING, *unlabelled)
    aim = desired(a_model("a"), a_model("b"))
    small = {**LLAMA_70B, "num_hidden_layers": 2}
    known = {name: replace(one, config=small) for name, one in aim.verdicts.items()}
    (note,) = [one for one in make_plan(replace(aim, verdicts=known), state).notes if "size" in one]
    assert note.startswith("nothing tells the size of the GPUs on a, b, c and 1 more (label nvidia")
    assert not any("size" in one for one in make_plan(aim, state).notes)


def test_a_model_without_room_is_blocked_and_with_autoscaling_only_told(make: Any):
    aim = desired(a_model())
    full = on_nodes(NOTHING, make.node("a", 1), pods=[make.pod("a", 1)])
    (step,) = make_plan(aim, full).steps
    assert (step.action, step.reason) == (Action.BLOCKED, "no room for a replica with a GPU now")
    patient = replace(aim, settings=load_settings(autoscaling=True))
    (step,) = make_plan(patient, full).steps
    assert step.action is Action.CREATE
    assert step.notes == ("waits for a node: no room for a replica with a GPU now",)


def test_scaling_needs_room_only_for_what_is_new(make: Any):
    aim = desired(a_model())
    full = on_nodes(as_deployed(aim), make.node("a", 1), pods=[make.pod("a", 1)])
    assert make_plan(aim, full).steps[0].action is Action.NONE
    (step,) = make_plan(desired(a_model(replicaCount=2)), full).steps
    assert step.action is Action.BLOCKED
    free = on_nodes(as_deployed(aim), make.node("a", 2), pods=[make.pod("a", 1)])
    (step,) = make_plan(desired(a_model(replicaCount=2)), free).steps
    assert (step.action, step.nodes, step.rollout) == (Action.SCALE, ("a",), None)


def engine_on(make: Any, model: str, node: str = "a") -> Any:
    labels = {"model": model, "helm-release-name": "vllm"}
    return make.pod(node, namespace="vllm", labels=labels)


@pytest.mark.parametrize(
    ("fields", "commit"),
    [({"replicaCount": 0}, SHA), ({"replicaCount": 1}, SHA), ({"replicaCount": 0}, OTHER_SHA)],
    ids=["scaled to none", "scaled to fewer", "updated and scaled to none"],
)
def test_what_a_lowered_replica_count_frees_goes_to_other_models_of_the_run(
    make: Any, fields: dict[str, Any], commit: str
):
    before = desired(a_model("old", replicaCount=2))
    pods = [engine_on(make, "old"), engine_on(make, "old")]
    state = on_nodes(as_deployed(before), make.node("a", 2), pods=pods)
    old, new = a_model("old", **fields), a_model("new")
    verdicts = [verdict(old, commit), verdict(new)]
    plan = make_plan(desired(old, new, verdicts=verdicts), state)
    assert [step.action for step in plan.steps][1] is Action.CREATE
    assert plan.steps[1].nodes == ("a",)


@pytest.mark.parametrize(
    ("now", "commit", "wanted", "told"),
    [
        ({}, OTHER_SHA, Action.UPDATE, " (wanted: update, revision aaaaaaaa -> bbbbbbbb)"),
        ({"replicaCount": 3}, SHA, Action.SCALE, " (wanted: scale, replicas 1 -> 3)"),
    ],
)
def test_a_blocked_model_that_is_deployed_says_what_would_have_changed(
    make: Any, now: dict[str, Any], commit: str, wanted: Action, told: str
):
    model = a_model(**now)
    state = as_deployed(desired(a_model()))
    state = on_nodes(state, make.node("a", 1), pods=[engine_on(make, "qwen")])
    (step,) = make_plan(desired(model, verdicts=[verdict(model, commit)]), state).steps
    assert (step.action, step.wanted) == (Action.BLOCKED, wanted)
    assert step.reason == step.problems[0].what + told


def test_a_blocked_model_of_which_nothing_was_to_change_gives_the_problem_alone():
    gated = AccessError("gated", model="qwen")
    pickle = replace(verdict(a_model()), files=(HubFile("pytorch_model.bin", 1000),))
    refused = Verdict("qwen", "org/qwen", problems=(gated,))
    state = as_deployed(desired(a_model()))
    for found, wanted in ((refused, None), (pickle, Action.NONE)):
        (step,) = make_plan(desired(a_model(), verdicts=[found]), state).steps
        assert (step.action, step.wanted) == (Action.BLOCKED, wanted)
        assert step.reason == step.problems[0].what


def test_a_new_model_that_is_blocked_gives_the_problem_alone():
    large = verdict(a_model(), size=60 * 1024**3)
    (step,) = make_plan(desired(a_model(), verdicts=[large]), NOTHING).steps
    assert (step.action, step.wanted) == (Action.BLOCKED, Action.CREATE)
    assert step.reason == step.problems[0].what


def test_a_blocked_model_frees_nothing(make: Any):
    old, new = a_model("old", replicaCount=0), a_model("new")
    state = as_deployed(desired(a_model("old")))
    state = on_nodes(state, make.node("a", 1), pods=[engine_on(make, "old")])
    refused = Verdict("old", "org/old", problems=(AccessError("gated", model="old"),))
    plan = make_plan(desired(old, new, verdicts=[refused, verdict(new)]), state)
    assert [step.action for step in plan.steps] == [Action.BLOCKED, Action.BLOCKED]


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


TWO = {"tensorParallelSize": 2}
