"""What a decision says of itself: what is written, who is proven, what tells it from others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from vllm_flows.chart import Chart
from vllm_flows.credentials import Credential
from vllm_flows.desired import Desired
from vllm_flows.differences import entries
from vllm_flows.drift import Drift
from vllm_flows.errors import BlockedError, DowntimeError, StalePlanError
from vllm_flows.models import Model
from vllm_flows.observed import (
    DIGEST_ANNOTATION,
    ClusterState,
    DeployedModel,
    EnginePod,
    HubFile,
    Release,
    ReleaseState,
    Surroundings,
    Verdict,
    WeightsClaim,
)
from vllm_flows.planner import make_plan
from vllm_flows.planning import Aim, Decision
from vllm_flows.rollout import Rollout, Strategy
from vllm_flows.settings import load_settings
from vllm_flows.values import PinnedModel, release_values

if TYPE_CHECKING:
    from vllm_flows.session import Session

OLD, NEW = "a" * 40, "b" * 40


def a_model(**fields: Any) -> Model:
    return Model(name="qwen", modelURL="org/qwen", **fields)


def aim(model: Model, commit: str = NEW) -> Desired:
    verdict = Verdict("qwen", "org/qwen", commit, files=(HubFile("model.safetensors", 1000),))
    settings = load_settings()
    values = release_values([PinnedModel(model, commit)], settings, None)
    return Desired([model], {"qwen": verdict}, values, Chart("vllm-stack", (), "0.1.8"), settings)


def digest(desired: Desired) -> str:
    return str(entries(desired.values)["qwen"]["podAnnotations"][DIGEST_ANNOTATION])


def served(desired: Desired, commit: str, **claim: Any) -> ClusterState:
    """Return a cluster that runs just what is desired, with a claim that remembers."""
    return ClusterState(
        Release(ReleaseState.DEPLOYED, 3, "0.1.8", "deployed", desired.values),
        {"qwen": DeployedModel("qwen", 1, 1, commit, digest(desired))},
        {"qwen": WeightsClaim("qwen", "50Gi", complete={commit: 1}, **claim)},
        router=True,
    )


def decision(desired: Desired, state: ClusterState, **credentials: Credential) -> Decision:
    plan = make_plan(desired, state)
    nobody = cast("Session", None)
    key, token = credentials.get("api_key"), credentials.get("token")
    return Decision(nobody, desired, state, plan, key, token)


def proven(desired: Desired, commit: str = NEW) -> ClusterState:
    return served(desired, commit, served=(commit,), requested="main", answered=(digest(desired),))


def test_a_model_that_answered_as_it_is_needs_no_writing_and_one_completion():
    made = decision(aim(a_model()), proven(aim(a_model())))
    assert not made.writes
    assert (made.proven(), made.unproven(), made.news()) == ({"qwen"}, [], [])


def test_a_model_that_was_never_seen_to_answer_is_proven_and_remembered():
    made = decision(aim(a_model()), served(aim(a_model()), NEW))
    assert made.writes
    assert (made.proven(), made.unproven()) == (set(), [])
    assert [model.name for model in made.news()] == ["qwen"]


def test_a_model_that_a_killed_run_left_is_unproven_since_another_configuration_answered():
    before = digest(aim(a_model(), OLD))
    left = served(aim(a_model()), NEW, served=(OLD,), requested="main", answered=(before,))
    made = decision(aim(a_model()), left)
    assert made.changes
    assert not made.plan.release_reason
    assert made.unproven() == ["qwen"]


def test_an_unproven_model_that_stays_whatever_it_answers_is_asked_with_the_rest():
    kept = a_model(onFailure="keep")
    before = digest(aim(kept, OLD))
    left = served(aim(kept), NEW, served=(OLD,), requested="main", answered=(before,))
    made = decision(aim(kept), left)
    assert made.changes
    assert made.unproven() == []
    assert made.proven() == set()
    assert "asked last" in made.plan.steps[0].reason


def test_a_model_without_replicas_has_nothing_to_prove():
    none = a_model(replicaCount=0)
    state = served(aim(none), NEW)
    state = replace(state, deployments={"qwen": replace(state.deployments["qwen"], replicas=0)})
    assert not decision(aim(none), state).writes


def test_a_secret_that_is_not_stored_yet_is_written():
    given = Credential("canary", "VLLM_HF_TOKEN", stored=False)
    made = decision(aim(a_model()), proven(aim(a_model())), token=given)
    assert (made.changes, made.writes) == (True, True)
    assert made.unsaved() == ["Secret hf-token from VLLM_HF_TOKEN"]
    kept_in_vault = replace(made, by_vault={"hf-token": "secret/vllm/huggingface"})
    (told,) = kept_in_vault.unsaved()
    assert "by way of Vault's secret/vllm/huggingface, for all namespaces that read it" in told
    kept = replace(given, stored=True)
    made = decision(aim(a_model()), proven(aim(a_model())), token=kept)
    assert (made.changes, made.writes, made.unsaved()) == (False, False, [])


@pytest.mark.parametrize(
    "other",
    [
        lambda desired, state: (
            desired,
            replace(state, release=replace(state.release, revision=4)),
        ),
        lambda desired, state: (desired, replace(state, drifts=(Drift("Service", "s", ("a",)),))),
        lambda _, state: (aim(a_model(replicaCount=2)), state),
        lambda _, state: (aim(a_model(pvcStorage="900Gi")), state),
        lambda _, state: (aim(a_model(onFailure="keep")), state),
        lambda _, state: (aim(a_model(smokeTest={"expect": "Paris"})), state),
        lambda _, state: (aim(a_model(allowDowntime=True)), state),
        lambda _, state: (aim(a_model(vllmConfig={"maxModelLen": 512})), state),
        lambda desired, state: (desired, replace(state, deployments={})),
    ],
)
def test_what_moved_on_makes_another_fingerprint(other: Any):
    desired, state = aim(a_model()), proven(aim(a_model()))
    agreed = decision(desired, state).fingerprint
    assert decision(*other(desired, state)).fingerprint != agreed


def test_the_same_seen_twice_has_one_fingerprint_and_passes_the_check():
    first, second = (decision(aim(a_model()), proven(aim(a_model()))) for _ in range(2))
    second.check(Aim([a_model()], expected=first.fingerprint))


def test_what_only_downtime_stands_against_is_planned_once_it_is_allowed(make: Any):
    labels = {"helm-release-name": "vllm", "model": "qwen"}
    around = Surroundings((make.node("a", 1),), (make.pod("a", namespace="vllm", labels=labels),))
    full = replace(
        proven(aim(a_model(), OLD), OLD), pods=(EnginePod("qwen", "a", OLD),), around=around
    )
    made = decision(aim(a_model()), full)
    ((problem,),) = (step.problems for step in made.plan.steps)
    assert isinstance(problem, DowntimeError)
    allowed = made.with_downtime()
    ((rollout,),) = ([step.rollout] for step in allowed.plan.steps)
    assert rollout == Rollout(Strategy.STOP_FIRST, downtime=True)
    allowed_at_once = decision(replace(aim(a_model()), allow_downtime=True), full)
    assert allowed.fingerprint == allowed_at_once.fingerprint != made.fingerprint


def test_a_plan_that_nobody_agreed_to_is_refused():
    made = decision(aim(a_model()), proven(aim(a_model())))
    with pytest.raises(StalePlanError, match="not what would happen now"):
        made.check(Aim([a_model()], expected="another"))


def test_a_blocked_model_stops_the_run():
    larger = decision(aim(a_model()), replace(proven(aim(a_model())), claims={}))
    larger.check(Aim([a_model()]))
    refused = aim(a_model())
    refused = replace(refused, verdicts={"qwen": replace(refused.verdicts["qwen"], files=())})
    with pytest.raises(BlockedError):
        decision(refused, proven(refused)).check(Aim([a_model()]))


def test_of_several_replicas_each_has_to_answer_again():
    two = aim(a_model(replicaCount=2))
    state = proven(two)
    deployed = replace(state.deployments["qwen"], replicas=2, ready=2)
    made = decision(two, replace(state, deployments={"qwen": deployed}))
    assert not made.writes
    assert made.proven() == set()


def test_an_api_key_that_is_not_stored_yet_is_written():
    given = Credential("canary", "VLLM_API_KEY", stored=False)
    assert decision(aim(a_model()), proven(aim(a_model())), api_key=given).changes
    assert not decision(
        aim(a_model()), proven(aim(a_model())), api_key=replace(given, stored=True)
    ).changes


def test_a_model_that_changes_now_is_not_asked_as_it_was_left():
    left = served(
        aim(a_model(), OLD), OLD, served=("c" * 40,), requested="main", answered=("other",)
    )
    made = decision(aim(a_model(vllmConfig={"maxModelLen": 512})), left)
    assert [model.name for model in made.news()] == ["qwen"]
    assert made.unproven() == []


def test_another_word_for_what_answered_is_remembered_and_no_reason_to_go_back():
    tagged = aim(a_model(revision="v1"))
    made = decision(tagged, proven(tagged))
    assert not made.plan.changes
    assert made.served(tagged.models[0]).requested == "v1"
    assert [model.name for model in made.news()] == ["qwen"]
    assert made.unproven() == []


def test_pods_that_somebody_changed_have_to_be_proven_anew():
    changed = Drift("Deployment", "vllm-qwen-deployment-vllm", ("spec.template.x: 1 -> 2",))
    made = decision(aim(a_model()), replace(proven(aim(a_model())), drifts=(changed,)))
    assert made.news() == []
    assert made.proven() == set()
