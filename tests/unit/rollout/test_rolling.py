"""One run's change of the release: in which order, who is asked, and what ends it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest

from tests.unit.rollout.stand_ins import (
    NEW,
    OLD,
    RUBBISH,
    UNREADY,
    Tasks,
    a_model,
    aim,
    failure,
    revision,
    rolling_to,
    serving,
    verbs,
)
from vllm_flows.drift import Drift
from vllm_flows.errors import (
    ClusterUnavailableError,
    LockLostError,
    NotReadyError,
    RolloutError,
    RouterError,
    StoppedError,
)
from vllm_flows.metrics import ROLLOUT, SILENT, Sample
from vllm_flows.observed import API_KEY_ANNOTATION


def test_each_model_is_ready_and_has_answered_before_the_next_is_changed(tasks: Tasks):
    models = (a_model("a"), a_model("b"))
    made = rolling_to(tasks, aim(*models), serving(aim(*models, commit=OLD)))
    made.through()
    assert verbs(tasks) == ["helm", "wait a", "ask a", "helm", "wait b", "ask b"]
    first, second = tasks.applied
    assert (revision(first["a"]), revision(first["b"])) == (NEW, OLD)
    assert (revision(second["a"]), revision(second["b"])) == (NEW, NEW)
    assert made.ready == {"a": 2.0, "b": 2.0}
    assert {name: answer.text for name, answer in made.answers.items()} == dict.fromkeys(
        ("a", "b"), "Paris"
    )


def test_every_helm_says_which_model_it_changes_and_why(tasks: Tasks):
    models = (a_model("a"), a_model("b"))
    rolling_to(tasks, aim(*models), serving(aim(*models, commit=OLD))).through()
    helm = [step for step in tasks.done if step.startswith("helm")]
    assert helm == [f"helm: {name}: revision bbbbbbbb -> cccccccc" for name in ("a", "b")]


def test_a_helm_that_replaces_no_pods_says_why_the_release_changes(tasks: Tasks):
    models = (a_model("old"), a_model("new"))
    made = rolling_to(tasks, aim(*models), serving(aim(models[0])))
    made.through()
    assert tasks.done == [f"helm: {made.run.plan.release_reason}"]


def test_a_large_model_is_given_the_time_that_its_size_takes(tasks: Tasks):
    bytes_in_two_hours = 2 * 3600 * 100_000_000
    large = serving(aim(a_model(), commit=OLD))
    rolling_to(tasks, aim(a_model(), size=bytes_in_two_hours), large).through()
    assert tasks.budgets["qwen"] > 2 * 3600


def test_of_several_replicas_each_is_asked_as_soon_as_it_is_ready(tasks: Tasks):
    models = (a_model("one"), a_model("two", replicaCount=2))
    pooling = a_model("p", replicaCount=2, vllmConfig={"runner": "pooling"})
    rolling_to(tasks, aim(*models, pooling), serving(aim(*models, pooling, commit=OLD))).through()
    assert tasks.asked_early == ["two"]


def test_a_release_that_stays_as_it_is_needs_no_helm(tasks: Tasks):
    rolling_to(tasks, aim(a_model()), serving(aim(a_model()))).through()
    assert tasks.done == []


def test_what_answered_is_remembered_before_a_later_model_fails(tasks: Tasks):
    models = (a_model("a"), a_model("b"))
    tasks.failing = {"b": [UNREADY]}
    failure(tasks, aim(*models), serving(aim(*models, commit=OLD)))
    assert tasks.remembered == ["a"]


def test_a_router_that_never_gets_ready_is_no_models_fault(tasks: Tasks):
    taint = "0/3 nodes are available: 3 node(s) had untolerated taint {gpu: true} [taint]"
    tasks.router = NotReadyError(taint, next_command="kubectl get nodes", model="router")
    with pytest.raises(RouterError) as caught:
        rolling_to(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD))).through()
    assert caught.value.what == f"the router is not ready: {taint}"
    assert caught.value.next_command == "kubectl get nodes"
    assert verbs(tasks) == ["helm", "wait qwen", "wait router"]


def test_a_router_is_waited_for_before_models_are_asked(tasks: Tasks):
    tasks.router_starts = True
    rolling_to(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD))).through()
    assert verbs(tasks) == ["helm", "wait qwen", "wait router", "ask qwen"]


def test_a_new_model_is_left_to_the_proof_of_all_since_nothing_served_before(tasks: Tasks):
    models = (a_model("old"), a_model("new"))
    rolling_to(tasks, aim(*models), serving(aim(models[0]))).through()
    assert verbs(tasks) == ["helm"]


def test_a_model_that_only_embeds_is_waited_for_and_not_asked(tasks: Tasks):
    pooling = a_model(vllmConfig={"runner": "pooling"})
    rolling_to(tasks, aim(pooling), serving(aim(pooling, commit=OLD))).through()
    assert verbs(tasks) == ["helm", "wait qwen"]


def test_what_helm_cannot_set_right_is_set_right_before_helm_runs(tasks: Tasks):
    repair = {"spec": {"ports": [{"port": 80}]}}
    drift = Drift("Service", "s", ("spec.ports[0].port: 80 -> 81",), repair)
    rolling_to(tasks, aim(a_model()), replace(serving(aim(a_model())), drifts=(drift,))).through()
    assert verbs(tasks) == ["set right ['s']", "helm"]


def test_one_such_object_among_others_is_enough(tasks: Tasks):
    drifts = (
        Drift("Deployment", "d", ("spec.replicas: 1 -> 2",)),
        Drift("Service", "s", ("spec.ports[0].port: 80 -> 81",), {"spec": {}}),
    )
    rolling_to(tasks, aim(a_model()), replace(serving(aim(a_model())), drifts=drifts)).through()
    assert verbs(tasks) == ["set right ['d', 's']", "helm"]


def test_what_helm_can_set_right_is_left_to_it(tasks: Tasks):
    drift = Drift("Service", "s", ("spec.ports[0].port: 80 -> 81",))
    rolling_to(tasks, aim(a_model()), replace(serving(aim(a_model())), drifts=(drift,))).through()
    assert verbs(tasks) == ["helm"]


def test_what_is_left_of_models_that_are_no_longer_listed_goes_after_helm(tasks: Tasks):
    models = (a_model("a"), a_model("gone"))
    rolling_to(tasks, aim(models[0]), serving(aim(*models))).through()
    assert verbs(tasks) == ["helm", "remove ['gone']"]


def test_the_silence_of_each_model_that_was_replaced_is_kept(tasks: Tasks):
    tasks.silent = 3.0
    made = rolling_to(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    made.through()
    assert made.silence.keys() == {"qwen"}


@pytest.mark.parametrize("failing", [{}, {"qwen": [RUBBISH]}], ids=["done", "failed"])
def test_what_was_lost_meanwhile_is_handed_over_also_by_a_run_that_fails(
    tasks: Tasks, failing: dict[str, list[Exception]]
):
    tasks.silent, tasks.failing = 3.0, failing
    made = rolling_to(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD)))
    with pytest.raises(RolloutError) if failing else nullcontext():
        made.through()
    assert Sample(SILENT, 3.0, ("qwen",)) in made.asking.measured[ROLLOUT]


def test_a_run_that_replaced_nothing_hands_over_nothing(tasks: Tasks):
    made = rolling_to(tasks, aim(a_model("a"), a_model("b")), serving(aim(a_model("a"))))
    made.through()
    assert made.asking.measured == {}


@pytest.mark.parametrize(
    "error",
    [
        ClusterUnavailableError("the Kubernetes API does not answer"),
        LockLostError("this run no longer holds the lock"),
        RouterError("the router does not answer"),
        StoppedError("the run was interrupted"),
        MemoryError(),
    ],
)
def test_what_tells_nothing_of_a_model_takes_nothing_back(tasks: Tasks, error: Exception):
    tasks.failing = {"qwen": [error]}
    with pytest.raises(type(error)):
        rolling_to(tasks, aim(a_model()), serving(aim(a_model(), commit=OLD))).through()
    assert len(tasks.applied) == 1


def test_with_another_api_key_engines_are_ready_before_the_router_is_changed(tasks: Tasks):
    models = (a_model("a"), a_model("b"))
    state = serving(aim(*models, key="one"))
    made = rolling_to(tasks, aim(*models, key="two"), state)
    made.through()
    assert verbs(tasks) == [
        *("helm", "wait a", "wait b", "helm"),
        *("wait a", "wait b", "ask a", "ask b"),
    ]
    assert tasks.said == ["all engines hold the new API key; the router follows"]
    assert tasks.router_marks == ["one", "two"]
    assert [entry["podAnnotations"][API_KEY_ANNOTATION] for entry in tasks.applied[0].values()] == [
        "two",
        "two",
    ]


def test_older_replicas_answer_until_the_router_with_the_new_api_key_is_ready(tasks: Tasks):
    tasks.beside, tasks.router_starts = {"qwen"}, True
    rolling_to(tasks, aim(a_model(), key="two"), serving(aim(a_model(), key="one"))).through()
    done = verbs(tasks)
    assert done.index("wait router") < done.index("drain qwen")


def test_that_the_api_key_goes_is_said(tasks: Tasks):
    made = rolling_to(tasks, aim(a_model(), key=None), serving(aim(a_model(), key="one")))
    made.through()
    assert tasks.said == ["all engines want no API key any more; the router follows"]
    assert made.run.plan.steps[0].reason == "the API key goes: open to all who reach it"


def test_a_router_that_follows_to_another_api_key_is_ready_before_anybody_s_older_pods_end(
    tasks: Tasks,
):
    tasks.router_starts = True
    rolling_to(tasks, aim(a_model(), key="two"), serving(aim(a_model(), key="one"))).through()
    assert verbs(tasks)[:4] == ["helm", "wait qwen", "helm", "wait router"]


def test_who_never_gets_ready_with_another_api_key_goes_back_and_the_others_keep_it(tasks: Tasks):
    models = (a_model("a"), a_model("b"))
    before = aim(*models, key="one")
    tasks.failing = {"a": [UNREADY]}
    told = failure(tasks, aim(*models, key="two"), serving(before))
    assert verbs(tasks) == [
        *("helm", "wait a", "wait b", "helm", "wait b", "ask b"),
        *("helm", "wait a", "ask a"),
    ]
    assert "a: crash loop" in told.why
