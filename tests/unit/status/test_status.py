"""How each model is, from Kubernetes objects as the API has them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from vllm_flows.observed import (
    API_KEY_ANNOTATION,
    DIGEST_ANNOTATION,
    PROVEN_ANNOTATION,
    REVISION_ANNOTATION,
)
from vllm_flows.status import ASKS, ROUTER, Health, Status, next_of, status_of

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
COMMIT = "a" * 40


def deployment(
    model: str,
    wanted: int = 1,
    ready: int = 1,
    *,
    updated: int | None = None,
    total: int = 1,
    args: tuple[str, ...] = (),
) -> dict[str, Any]:
    annotations = {REVISION_ANNOTATION: COMMIT, DIGEST_ANNOTATION: "d1"}
    status = {"observedGeneration": 2, "replicas": total or wanted, "readyReplicas": ready}
    return {
        "kind": "Deployment",
        "metadata": {
            "name": f"vllm-{model}-deployment-vllm",
            "labels": {"model": model},
            "generation": 2,
        },
        "spec": {
            "replicas": wanted,
            "selector": {"matchLabels": {"model": model}},
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {"containers": [{"command": ["vllm", "serve"], "args": list(args)}]},
            },
        },
        "status": status | {"updatedReplicas": wanted if updated is None else updated},
    }


def pod(model: str, node: str | None = "gpu-1", *, restarts: int = 0, **status: Any) -> Any:
    limits = {"limits": {"nvidia.com/gpu": "2"}}
    return {
        "kind": "Pod",
        "metadata": {"labels": {"model": model}, "creationTimestamp": "2026-01-02T11:00:00Z"},
        "spec": {"containers": [{"resources": limits}], **({"nodeName": node} if node else {})},
        "status": {"containerStatuses": [{"restartCount": restarts}], **status},
    }


def claim(model: str, digest: str) -> Any:
    annotations = {PROVEN_ANNOTATION: digest}
    metadata = {"name": f"weights-{model}", "annotations": annotations}
    return {"kind": "PersistentVolumeClaim", "metadata": metadata}


def service(name: str) -> Any:
    return {"kind": "Service", "metadata": {"name": name}}


def only(*objects: Any, listed: tuple[str, ...] = ("qwen",), wanted: int = 1) -> Status:
    (found,) = status_of(objects, dict.fromkeys(listed, wanted), "ns", NOW)
    return found


def test_a_model_that_serves_is_told_with_all_that_it_has():
    found = only(
        deployment("qwen"),
        pod("qwen", restarts=3),
        claim("qwen", "d1"),
        service("vllm-router-service"),
    )
    endpoint = "http://vllm-router-service.ns.svc.cluster.local"
    wanted = Status("qwen", Health.READY, COMMIT, 1, 1, 2, ("gpu-1",), 3600.0, 3, endpoint)
    assert found == wanted


@pytest.mark.parametrize(
    ("item", "health"),
    [
        (deployment("qwen", 1, 0), Health.DOWN),
        (deployment("qwen", 2, 1, total=2), Health.DEGRADED),
        (deployment("qwen", 1, 1, updated=0), Health.UNSETTLED),
        (deployment("qwen", 1, 1, total=2), Health.UNSETTLED),
        (deployment("qwen", 1, 1), Health.READY),
    ],
)
def test_the_replicas_say_how_it_is(item: Any, health: Health):
    assert only(item, claim("qwen", "d1")).health is health


NONE = deployment("qwen", 0, 0, total=0)


def test_what_is_to_have_no_replica_is_at_rest_whether_it_is_listed_or_not():
    assert only(NONE, wanted=0).health is Health.AT_REST
    assert only(NONE, listed=()).health is Health.AT_REST
    stays = router(0)
    (found,) = status_of([stays], {ROUTER: 0}, "ns", NOW)
    assert found.health is Health.AT_REST


def test_what_was_scaled_to_none_though_replicas_are_wanted_is_down_and_comes_back_by_install():
    found = only(NONE, wanted=2)
    assert (found.health, found.next_command) == (Health.DOWN, "vllm-flows install")
    assert found.diagnosis == "it was scaled to 0 replicas, and models.yaml wants 2"
    (found,) = status_of([router(0)], {ROUTER: 1}, "ns", NOW)
    assert (found.health, found.next_command) == (Health.DOWN, "vllm-flows install")
    assert "VLLM_ROUTER_REPLICAS" in found.diagnosis


def router(wanted: int) -> dict[str, Any]:
    found = deployment("", wanted, wanted, total=wanted)
    metadata = {"name": "vllm-deployment-router", "labels": {}, "generation": 1}
    return {**found, "metadata": metadata}


def test_a_change_that_kubernetes_has_not_seen_yet_is_no_rest():
    item = deployment("qwen")
    item["metadata"]["generation"] = 3
    assert only(item).health is Health.UNSETTLED


def test_a_model_that_was_not_seen_to_answer_with_these_options_is_not_proven():
    assert only(deployment("qwen"), claim("qwen", "")).health is Health.UNPROVEN
    assert only(deployment("qwen"), claim("qwen", "d0")).health is Health.UNPROVEN
    assert only(deployment("qwen"), claim("qwen", "d0 d1")).health is Health.UNPROVEN
    assert only(deployment("qwen"), claim("qwen", "d1 d0")).health is not Health.UNPROVEN


@pytest.mark.parametrize("args", [("--runner", "pooling"), ("--convert", "embed")])
def test_what_only_embeds_has_nothing_to_prove_whatever_answered_under_its_name_before(
    args: tuple[str, ...],
):
    for digests in ("d0", ""):
        found = only(deployment("qwen", args=args), claim("qwen", digests))
        assert (found.health, found.diagnosis) == (Health.READY, "")
    generating = deployment("qwen", args=("--runner", "auto", "--dtype", "pooling"))
    assert only(generating, claim("qwen", "d0")).health is Health.UNPROVEN


def test_a_pod_that_waits_for_a_node_holds_no_gpu_and_one_that_ended_does_not_count():
    found = only(
        deployment("qwen", 2, 1, total=2),
        pod("qwen"),
        pod("qwen", node=None),
        pod("qwen", restarts=9, phase="Failed"),
    )
    assert (found.gpus, found.nodes, found.restarts) == (2, ("gpu-1",), 0)


def test_models_stand_as_in_models_yaml_then_the_others_and_the_router_last():
    stranger = deployment("")
    stranger["metadata"] = {"name": "somebody-elses"}
    objects = [router(1), stranger, deployment("old"), deployment("b"), deployment("a")]
    found = status_of(objects, {"b": 1, "new": 1, "a": 1, ROUTER: 1}, "ns", NOW)
    assert [one.name for one in found] == ["b", "new", "a", "old", ROUTER]
    assert found[1].health is Health.ABSENT
    assert found[1].next_command == "vllm-flows install"


def test_without_a_router_each_model_has_an_address_of_its_own():
    own = service("vllm-qwen-engine-service")
    address = "http://vllm-qwen-engine-service.ns.svc.cluster.local"
    assert only(deployment("qwen"), own).endpoint == address
    assert only(deployment("qwen")).endpoint == ""


def test_what_was_changed_and_not_seen_to_answer_has_the_command_that_asks_it():
    found = only(deployment("qwen"), claim("qwen", "d0"))
    assert found.diagnosis == "it was changed, and not seen to answer since"
    assert found.next_command.startswith("vllm-flows update qwen ")
    assert only(deployment("qwen"), claim("qwen", "")).next_command == ""


def keyed(found: dict[str, Any], mark: str) -> dict[str, Any]:
    found["spec"]["template"]["metadata"]["annotations"][API_KEY_ANNOTATION] = mark
    return found


def beside_router(*models: Any, key: str = "", proven: str = "d1") -> list[Status]:
    """Return how models are with a router that holds a key, "" for none; `proven` is qwen's."""
    routed = keyed(router(1), key) if key else router(1)
    return status_of([*models, routed, claim("qwen", proven)], {"qwen": 1}, "ns", NOW)[:-1]


@pytest.mark.parametrize("before", ["", "old"])
def test_a_model_whose_key_the_router_has_not_got_yet_answers_nobody(before: str):
    (found,) = beside_router(keyed(deployment("qwen"), "new"), key=before, proven="d0")
    assert found.health is Health.DEGRADED
    assert found.diagnosis.endswith("the router does not have it yet: it answers nobody")
    assert found.next_command.startswith("vllm-flows install ")


def test_of_a_model_on_its_way_to_a_key_it_is_still_looked_at_why():
    (found,) = beside_router(keyed(deployment("qwen", total=2), "new"), key="old")
    assert (found.health, found.diagnosis) == (Health.UNSETTLED, "")
    assert next_of(found, ASKS.format(model="qwen")).startswith("vllm-flows install ")
    assert next_of(found, "look at the crash") == "look at the crash"


def test_what_is_held_for_another_reason_is_asked():
    (found,) = beside_router(keyed(deployment("qwen", total=2), "one"), key="one")
    asks = ASKS.format(model="qwen")
    assert next_of(found, asks) == asks


def test_a_model_that_is_down_is_told_as_that_whatever_key_it_holds():
    (found,) = beside_router(keyed(deployment("qwen", ready=0), "new"), key="old")
    assert (found.health, found.diagnosis) == (Health.DOWN, "")


@pytest.mark.parametrize("models", [("new", "old"), ("", ""), ("new", "")])
def test_who_went_back_and_who_wants_no_key_answers_by_the_router(models: tuple[str, str]):
    some = [
        keyed(deployment(name), mark) if mark else deployment(name)
        for name, mark in zip(("qwen", "phi"), models, strict=True)
    ]
    found = beside_router(*some, key="new")
    assert {one.health for one in found} == {Health.READY}


def test_where_all_went_back_from_a_new_key_they_answer_by_the_router():
    (found,) = beside_router(keyed(deployment("qwen"), "old"), key="new")
    assert (found.health, found.next_command) == (Health.READY, "")


def test_somebody_elses_deployment_is_not_said_to_lack_a_key():
    stranger = deployment("theirs")
    stranger["metadata"]["name"] = "theirs"
    mine = keyed(deployment("qwen"), "new")
    assert {one.health for one in beside_router(mine, stranger, key="new")} == {Health.READY}
    assert beside_router(mine, stranger, key="old")[1].health is Health.READY


def test_without_a_router_each_model_takes_its_key_alone():
    assert only(keyed(deployment("qwen"), "new")).health is Health.READY
