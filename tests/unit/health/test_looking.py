"""What is read of the cluster, of the router and of the Hub for a check, and how often."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from tests.support import VirtualClock
from vllm_flows import health_hub_asking
from vllm_flows.errors import AccessError, ClusterError, HubUnavailableError
from vllm_flows.health import Kind, State
from vllm_flows.health_beside import router_counts
from vllm_flows.health_hub_asking import ask_hub
from vllm_flows.health_looking import Look, look, unlisted, why_not_ready
from vllm_flows.health_memory import CONFIG_MAP
from vllm_flows.health_of_model import check_model
from vllm_flows.health_router import Counts
from vllm_flows.models import Model
from vllm_flows.names import ROUTER_DEPLOYMENT, engine_deployment
from vllm_flows.observed import (
    API_KEY_ANNOTATION,
    DIGEST_ANNOTATION,
    MODEL_LABEL,
    PROVEN_ANNOTATION,
    REVISION_ANNOTATION,
    Verdict,
    WeightsClaim,
)
from vllm_flows.settings import Settings
from vllm_flows.status import Health

COMMIT = "a" * 40


def engine(name: str, ready: int = 1) -> dict[str, Any]:
    labels = {"model": name, "helm-release-name": "vllm"}
    annotations = {REVISION_ANNOTATION: COMMIT, DIGEST_ANNOTATION: "d1"}
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": ready}
    return {
        "metadata": {
            "name": f"vllm-{name}-deployment-vllm",
            "namespace": "ns",
            "labels": labels,
            "generation": 1,
        },
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"annotations": annotations}, "spec": {"containers": []}},
        },
        "status": {"observedGeneration": 1, **counts},
    }


def pod(name: str, labels: dict[str, str], node: str = "n1") -> dict[str, Any]:
    ready = [{"type": "Ready", "status": "True"}]
    return {
        "metadata": {
            "name": name,
            "labels": labels,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"nodeName": node, "containers": []},
        "status": {"conditions": ready, "podIP": "10.0.0.1"},
    }


ROUTER = {
    "metadata": {"name": "vllm-deployment-router", "labels": {}, "generation": 1},
    "spec": {
        "selector": {"matchLabels": {"environment": "router"}},
        "template": {"metadata": {}},
    },
    "status": {"readyReplicas": 1, "updatedReplicas": 1, "replicas": 1, "observedGeneration": 1},
}


class Cluster:
    """Objects by kind, and how often each kind was asked for."""

    def __init__(self, **objects: list[dict[str, Any]]) -> None:
        self.objects, self.asked = objects, Counter[str]()
        self.namespace = "ns"

    def find(self, kind: str, *_: object, **__: object) -> list[dict[str, Any]]:
        self.asked[kind] += 1
        return self.objects.get(kind, [])

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        self.asked[kind] += 1
        return {"data": {"a": "nonsense"}} if (kind, name) == ("ConfigMap", CONFIG_MAP) else None


def session_of(cluster: Cluster) -> Any:
    return SimpleNamespace(
        cluster=cluster,
        settings=Settings(),
        clock=VirtualClock(),
        router_selector=lambda: "environment=router,release=router",
    )


def labels(model: str) -> dict[str, str]:
    return {"model": model, "helm-release-name": "vllm"}


def test_the_cluster_is_read_once_however_many_models_there_are():
    names = [f"m{number}" for number in range(50)]
    router = pod("router-1", {"environment": "router", "release": "router"})
    pods = [*(pod(f"{name}-1", labels(name)) for name in names), router]
    cluster = Cluster(Deployment=[*map(engine, names), ROUTER], Pod=pods)
    seen = look(session_of(cluster), dict.fromkeys([*names, "missing"], 1))
    assert max(cluster.asked.values()) == 1
    assert seen.names == sorted(names)
    assert seen.statuses["missing"].health is Health.ABSENT
    assert seen.statuses["m0"].health is Health.READY
    assert [one.pod for one in seen.replicas("m0")] == ["m0-1"]
    assert seen.digest("m0") == f"d1@{COMMIT[:12]}"
    assert seen.digest("missing") == ""
    assert seen.nodes()["m0"] == {"m0-1": "n1"}
    assert [one["metadata"]["name"] for one in seen.router_pods] == ["router-1"]
    assert (seen.memories, seen.changing) == ({}, False)


def claim(name: str, proven: str) -> dict[str, Any]:
    noted = {"labels": {MODEL_LABEL: name}, "annotations": {PROVEN_ANNOTATION: proven}}
    size = {"resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": f"weights-{name}", **noted}, "spec": size}


@pytest.mark.parametrize(
    ("proven", "model", "changing", "found"),
    [
        ("d0", Model(name="a", model_url="org/a"), False, [Kind.UNPROVEN, Kind.CHANGING]),
        ("d0", Model(name="a", model_url="org/a"), True, [Kind.CHANGING]),
        ("d0", unlisted("a"), False, [Kind.CHANGING]),
        ("d1 d0", Model(name="a", model_url="org/a"), False, [Kind.CHANGING]),
        ("", Model(name="a", model_url="org/a"), False, [Kind.CHANGING]),
    ],
    ids=["left", "run at work", "not listed", "proven", "first one"],
)
def test_a_rollout_that_a_run_left_half_way_does_not_hide_that_what_it_brings_is_not_proven(
    proven: str, model: Model, found: list[Kind], *, changing: bool
):
    both = engine("a")
    both["status"] |= {"replicas": 2, "readyReplicas": 2}
    cluster = Cluster(Deployment=[both], PersistentVolumeClaim=[claim("a", proven)])
    session = session_of(cluster)
    seen = replace(look(session, {"a": 1}), changing=changing)
    asker: Any = SimpleNamespace(session=session, counts=Counts())
    checked = check_model(asker, seen, model).checked
    assert [one.kind for one in checked.findings] == found
    if Kind.UNPROVEN in found:
        assert checked.findings[0].next_for("a").startswith("vllm-flows update a ")


def test_what_waits_for_the_router_to_get_a_key_is_not_to_be_asked_first():
    both, router = engine("a"), engine("router")
    both["status"] |= {"replicas": 2, "readyReplicas": 2}
    both["metadata"]["name"] = engine_deployment("a")
    both["spec"]["template"]["metadata"]["annotations"] |= {API_KEY_ANNOTATION: "new"}
    router["metadata"] |= {"name": ROUTER_DEPLOYMENT, "labels": {}}
    router["spec"]["template"]["metadata"]["annotations"] = {API_KEY_ANNOTATION: "old"}
    cluster = Cluster(Deployment=[both, router], PersistentVolumeClaim=[claim("a", "d0")])
    session = session_of(cluster)
    asker: Any = SimpleNamespace(session=session, counts=Counts())
    checked = check_model(asker, look(session, {"a": 1}), Model(name="a", model_url="org/a"))
    assert [one.kind for one in checked.checked.findings] == [Kind.CHANGING]


def test_only_of_models_that_are_not_ready_is_it_asked_why():
    cluster = Cluster(Deployment=[engine("a"), engine("b", ready=0)])
    session = session_of(cluster)
    seen = look(session, {"a": 1, "b": 1, "c": 1})
    before = sum(cluster.asked.values())
    assert why_not_ready(session, seen, "a") is None
    assert why_not_ready(session, seen, "c") is None
    assert sum(cluster.asked.values()) == before
    assert why_not_ready(session, seen, "b") is not None


def test_a_diagnosis_that_the_cluster_refuses_is_none(monkeypatch: pytest.MonkeyPatch):
    cluster = Cluster(Deployment=[engine("b", ready=0)])
    session = session_of(cluster)
    seen = look(session, {"b": 1})

    def refuse(*_: object, **__: object) -> Any:
        raise ClusterError("refused")

    monkeypatch.setattr(cluster, "find", refuse)
    assert why_not_ready(session, seen, "b") is None


class Hub:
    """A Hub that counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def verdict(self, model: str, repository: str, revision: str, _: object) -> Verdict:
        self.asked.append((repository, revision))
        return Verdict(model, repository, commit=COMMIT)


def asked(
    monkeypatch: pytest.MonkeyPatch,
    models: list[Model],
    answer: Any = None,
    claims: Mapping[str, WeightsClaim] = MappingProxyType({}),
) -> Any:
    hub = Hub()
    token = SimpleNamespace(value="hf", source="Secret hf-token") if answer else None
    session: Any = SimpleNamespace(
        hub=lambda: hub, token=lambda: token, settings=Settings(), clock=VirtualClock()
    )

    def account(*_: object) -> Any:
        raise answer

    monkeypatch.setattr(health_hub_asking, "account_of", account)
    return hub, ask_hub(session, models, claims)


def test_a_repository_that_many_models_have_is_asked_about_once(monkeypatch: pytest.MonkeyPatch):
    many = [Model(name=f"m{number}", model_url="org/one") for number in range(200)]
    other = Model(name="tagged", model_url="org/one", revision="v1")
    hub, told = asked(monkeypatch, [*many, other, unlisted("gone")])
    assert sorted(hub.asked) == [("org/one", "main"), ("org/one", "v1")]
    assert len(told.verdicts) == 201
    assert told.verdicts["m7"].model == "m7"
    assert told.shared.state is State.GREEN


def test_a_newer_commit_that_is_like_one_that_did_not_do_is_known_as_that(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("vllm_flows.refused_alike.refused_alike", lambda *_: "as bad")
    bad = {"b" * 40: "bad"}
    claims = {
        "alike": WeightsClaim("alike", "1Gi", refused=bad),
        "served": WeightsClaim("served", "1Gi", {COMMIT: 1}, refused=bad),
    }
    models = [Model(name=name, model_url="org/one") for name in claims]
    _, told = asked(monkeypatch, models, claims=claims)
    assert told.refused == {"alike": {COMMIT: "as bad", **bad}, "served": bad}


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (AccessError("the token is refused"), State.DEGRADED),
        (HubUnavailableError("it does not say whose token it is"), State.INCONCLUSIVE),
    ],
)
def test_a_token_is_judged_once_for_all(
    monkeypatch: pytest.MonkeyPatch, error: Exception, state: State
):
    _, told = asked(monkeypatch, [Model(name="a", model_url="org/one")], error)
    assert told.shared.state is state


def test_a_router_that_does_not_tell_its_counters_is_no_error():
    pages = {"r1": 'vllm:request_errors_total{model="a"} 3\n'}

    @contextmanager
    def replica_api(replica: Any, _: object) -> Any:
        if replica.pod not in pages:
            raise ClusterError("no connection")
        yield SimpleNamespace(metrics=lambda: pages[replica.pod])

    session: Any = SimpleNamespace(replica_api=replica_api)
    router = {"environment": "router"}
    found = router_counts(session, Look(router_pods=[pod("r1", router), pod("r2", router)]))
    assert found.errors == {"a": 3}
    assert not router_counts(session, Look()).told
