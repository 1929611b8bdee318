"""Which rollouts are held, and how older replicas end."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import overlap as tasks_overlap
from tests.unit.rollout.overlapping import (
    NAME,
    OLD_LABELS,
    FakeCluster,
    container,
    deployment,
    session,
)
from vllm_flows.completions import SilentError, UnreachedError
from vllm_flows.errors import (
    ClusterError,
    ClusterUnavailableError,
    CompletionError,
)
from vllm_flows.overlap import (
    has_both,
    is_draining,
    new_are_ready,
    out_of_reach,
    requests_in,
    surges_whole,
)


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "whole"),
    [
        (1, 0, 1, True),
        (2, 0, 2, True),
        ("100%", 0, 3, True),
        ("50%", "0%", 1, True),  # shares are rounded up
        (1, 0, 2, False),
        (0, 1, 1, False),
        (1, 1, 1, False),
        (1, 0, 0, False),
    ],
)
def test_a_rollout_is_held_where_all_new_pods_start_before_an_old_one_ends(
    surge: object,
    unavailable: object,
    replicas: int,
    whole: bool,  # noqa: FBT001 -- a parameter
):
    assert surges_whole(deployment(surge, unavailable, replicas)) is whole


def test_old_and_new_are_there_when_all_new_pods_were_made():
    assert has_both(deployment())
    for status in ({"replicas": 1}, {"updatedReplicas": 0}, {"observedGeneration": 1}):
        found = deployment()
        found["status"] |= status
        assert not has_both(found)


def test_the_new_ones_are_ready_when_each_replica_is():
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    pods = [{"metadata": {"name": name}, "status": ready} for name in ("a", "b")]
    assert new_are_ready(deployment(replicas=2), pods)
    assert not new_are_ready(deployment(replicas=2), pods[:1])


def test_a_pod_out_of_reach_keeps_the_label_by_which_it_is_found():
    labels = {**OLD_LABELS, "helm-release-name": "vllm"}
    fields = out_of_reach({"spec": {"selector": {"matchLabels": labels}}}, deployment())
    assert fields == {"metadata": {"labels": dict.fromkeys([*OLD_LABELS, "newer"])}}


def test_only_a_marked_pod_of_nobody_was_left_by_a_run():
    marked = {"labels": {"vllm-flows.io/draining": "true"}}
    assert is_draining({"metadata": marked})
    assert not is_draining({"metadata": {**marked, "ownerReferences": [{"uid": "rs"}]}})
    assert not is_draining({"metadata": {}})


def test_an_engine_has_the_requests_that_run_and_that_wait():
    page = """# HELP vllm:num_requests_running Number of requests
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="q"} 2.0
vllm:num_requests_running{engine="1",model_name="q"} 1.0
vllm:num_requests_waiting{engine="0",model_name="q"} 4.0
vllm:kv_cache_usage_perc 0.1
"""
    assert requests_in(page) == 7
    with pytest.raises(ValueError, match="no gauge"):
        requests_in("# nothing")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(tasks_overlap, "speaker", lambda _subject: heard.append)
    return heard


def test_an_older_replica_gets_no_more_requests_before_it_ends(said: list[str]):
    cluster = FakeCluster()
    found = session(cluster, [3, 1, 0])
    tasks_overlap.drain.fn(found, "q", NAME)
    gone = dict.fromkeys(sorted([*OLD_LABELS, "newer"]))
    assert cluster.done == [
        "old-pod: {'labels': {'vllm-flows.io/draining': 'true'}}",
        "delete ReplicaSet old alone",
        "ReplicaSet old is gone",
        f"old-pod: {{'labels': {gone}}}",
        "delete Pod old-pod",
    ]
    assert found.clock.time == 3.0
    assert "older replicas still answer 3 requests" in said


def test_an_older_replica_that_never_comes_to_an_end_is_ended(said: list[str]):
    cluster = FakeCluster()
    found = session(cluster, [1])
    tasks_overlap.drain.fn(found, "q", NAME)
    assert cluster.done[-1] == "delete Pod old-pod"
    assert found.clock.time >= 60
    assert "VLLM_DRAIN_TIMEOUT" in said[-1]


def test_an_older_replica_that_does_not_tell_what_it_does_may_be_answering(said: list[str]):
    cluster = FakeCluster()
    found = session(cluster, [2, SilentError("no byte for 5 s"), 2, 0])
    tasks_overlap.drain.fn(found, "q", NAME)
    assert cluster.done[-1] == "delete Pod old-pod"
    assert found.clock.time == 3.5
    assert "1 older replicas do not tell what they answer (no byte for 5 s)" in said


def test_what_is_not_known_when_an_older_replica_is_ended_is_said(said: list[str]):
    cluster = FakeCluster()
    found = session(cluster, [CompletionError("/metrics tells of no requests")])
    tasks_overlap.drain.fn(found, "q", NAME)
    assert cluster.done[-1] == "delete Pod old-pod"
    assert found.clock.time >= 60
    assert said[-1] == (
        "1 older replicas do not tell what they answer (/metrics tells of no requests): they "
        "end all the same after 1 min 0 s (VLLM_DRAIN_TIMEOUT)"
    )


@pytest.mark.parametrize(
    "pod",
    [
        None,
        {"status": {"phase": "Pending"}},
        container({"terminated": {}}),
        container({"waiting": {"reason": "CrashLoopBackOff"}}),
        container({"running": {}}, started=False),
    ],
    ids=["gone", "without a node", "ended", "crashing", "loading"],
)
def test_an_older_replica_that_does_not_serve_has_no_requests(said: list[str], pod: Any):
    cluster = FakeCluster()
    cluster.pod = pod
    found = session(cluster, [UnreachedError("no answer")])
    tasks_overlap.drain.fn(found, "q", NAME)
    assert found.clock.time == 2.0
    assert len(said) == 1


@pytest.mark.parametrize("kind", [ClusterError, ClusterUnavailableError])
def test_a_silent_api_server_does_not_say_that_an_older_replica_is_gone(
    said: list[str], kind: type[ClusterError]
):
    cluster = FakeCluster()
    cluster.pod = kind("the Kubernetes API does not answer")
    found = session(cluster, [UnreachedError("no answer"), 1, 0])
    tasks_overlap.drain.fn(found, "q", NAME)
    assert found.clock.time == 3.0
    assert said[1].endswith("do not tell what they answer (the Kubernetes API does not answer)")


def test_older_pods_lose_their_labels_only_once_nobody_makes_others_in_their_place(
    said: list[str],
):
    del said
    cluster = FakeCluster()
    cluster.looks_until_gone = 3
    tasks_overlap.drain.fn(session(cluster, [0]), "q", NAME)
    labels = next(at for at, step in enumerate(cluster.done) if "'model': None" in step)
    assert cluster.done.index("ReplicaSet old is gone") < labels


def test_a_rollout_is_held_once_all_new_pods_were_made():
    cluster = FakeCluster()
    assert tasks_overlap.hold.fn(session(cluster, [0]), "q", NAME)
    assert cluster.done == [f"{NAME}: {{'minReadySeconds': 1199}}"]


@pytest.mark.parametrize(
    "changes", [{"surge": 0, "unavailable": 1}, {"surge": 1, "replicas": 2}, None]
)
def test_what_does_not_start_as_a_whole_is_not_held(changes: dict[str, Any] | None):
    cluster = FakeCluster(**(changes or {}))
    if changes is None:
        cluster.deployment = None
    assert not tasks_overlap.hold.fn(session(cluster, [0]), "q", NAME)
    assert cluster.done == []


def test_new_pods_that_cannot_be_made_are_waited_for_as_in_any_other_change():
    cluster = FakeCluster()
    assert cluster.deployment
    cluster.deployment["status"]["updatedReplicas"] = 0
    assert not tasks_overlap.hold.fn(session(cluster, [0]), "q", NAME)


def test_a_deployment_that_is_gone_needs_not_be_let_go():
    cluster = FakeCluster()
    cluster.deployment = None
    assert tasks_overlap.strategy_of(session(cluster, [0]), NAME) == {}
    tasks_overlap.let_go(session(cluster, [0]), NAME)
    tasks_overlap.resume(session(cluster, [0]), NAME)
    tasks_overlap.set_aside.fn(session(cluster, [0]), "q", NAME)
    tasks_overlap.drain.fn(session(cluster, [0]), "q", NAME)
    assert cluster.done == []
