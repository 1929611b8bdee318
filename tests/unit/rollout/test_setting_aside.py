"""Newer pods are set aside where older ones serve, and nothing else changes."""

from __future__ import annotations

import pytest

from tasks import overlap as tasks_overlap
from tests.unit.rollout.overlapping import (
    LIMITS,
    NAME,
    PAUSED,
    FakeCluster,
    deployment,
    paused_with,
    session,
)
from vllm_flows.errors import (
    TimedOutError,
)
from vllm_flows.holding import paused


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(tasks_overlap, "speaker", lambda _subject: heard.append)
    return heard


def test_newer_pods_end_as_well_as_older_ones_while_the_deployment_makes_no_others(
    said: list[str],
):
    cluster = FakeCluster()
    cluster.sets[0]["status"] = {"readyReplicas": 1}
    found = session(cluster, [2, 0])
    tasks_overlap.set_aside.fn(found, "q", NAME)
    assert cluster.done[0] == f"{NAME}: {PAUSED}"
    assert cluster.done[2:4] == ["delete ReplicaSet new alone", "ReplicaSet new is gone"]
    assert cluster.done[-1] == "delete Pod old-pod"
    assert said[0] == "1 newer replicas get no more requests, and finish those they have"
    tasks_overlap.resume(found, NAME)
    assert cluster.done[-1] == f"{NAME}: {{'paused': None}}"


def test_newer_pods_stay_where_no_older_one_serves():
    cluster = FakeCluster()
    tasks_overlap.set_aside.fn(session(cluster, [0]), "q", NAME)
    assert cluster.done == []


def test_newer_pods_stay_until_the_controller_knows_of_the_pause():
    cluster = FakeCluster()
    assert cluster.deployment
    cluster.sets[0]["status"] = {"readyReplicas": 1}
    cluster.paused_unseen = True
    with pytest.raises(TimedOutError):
        tasks_overlap.set_aside.fn(session(cluster, [0]), "q", NAME)
    assert cluster.done == [f"{NAME}: {PAUSED}"]


@pytest.mark.parametrize(("surge", "replicas"), [(1, 2), (2, 1), (1, 1), ("100%", 3)])
def test_setting_newer_pods_aside_scales_nothing_whatever_helm_wrote_for_others(
    said: list[str], surge: object, replicas: int
):
    del said
    cluster = FakeCluster(surge=surge, replicas=replicas)
    for one in cluster.sets:
        one["spec"]["replicas"] = replicas
        one["status"] = {"readyReplicas": replicas}
    tasks_overlap.set_aside.fn(session(cluster, [0]), "q", NAME)
    limits = {"maxSurge": replicas, "maxUnavailable": 0}
    assert cluster.done[0] == f"{NAME}: {paused_with(limits)}"


def test_a_surge_that_the_api_would_refuse_is_not_asked_for():
    assert paused(deployment(replicas=3), 2) == {"spec": paused_with(LIMITS)}


def test_a_deployment_without_a_helm_meanwhile_is_as_it_was_before_it_was_paused():
    cluster = FakeCluster(surge=3)
    found = session(cluster, [0])
    strategy = tasks_overlap.strategy_of(found, NAME)
    tasks_overlap.resume(found, NAME, strategy)
    assert strategy == {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 0}}
    assert cluster.done == [f"{NAME}: {{'paused': None, 'strategy': {strategy}}}"]
