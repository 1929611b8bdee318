"""Which rollouts are held, and how older replicas end."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tasks import overlap as tasks_overlap
from tests.support import VirtualClock
from vllm_flows.completions import SilentError, UnreachedError
from vllm_flows.errors import (
    ClusterError,
    ClusterUnavailableError,
    CompletionError,
    TimedOutError,
)
from vllm_flows.holding import paused
from vllm_flows.overlap import (
    has_both,
    is_draining,
    new_are_ready,
    out_of_reach,
    requests_in,
    surges_whole,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "vllm-q-deployment-vllm"
OLD_LABELS = {"model": "q", "environment": "test", "pod-template-hash": "old"}
LIMITS = {"maxSurge": 1, "maxUnavailable": 0}


def paused_with(limits: dict[str, int]) -> dict[str, Any]:
    return {"paused": True, "strategy": {"rollingUpdate": limits}}


PAUSED = paused_with(LIMITS)


def deployment(surge: object = 1, unavailable: object = 0, replicas: int = 1) -> dict[str, Any]:
    limits = {"maxSurge": surge, "maxUnavailable": unavailable}
    return {
        "metadata": {"name": NAME, "uid": "d", "generation": 2, "annotations": _template(2)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"model": "q", "newer": "label"}},
            "strategy": {"rollingUpdate": limits},
            "progressDeadlineSeconds": 1200,
        },
        "status": {
            "observedGeneration": 2,
            "replicas": 2 * replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas,
        },
    }


def _template(number: int) -> dict[str, str]:
    return {"deployment.kubernetes.io/revision": str(number)}


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


def container(state: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a pod whose container is in this state."""
    return {"status": {"containerStatuses": [{"state": state, **fields}]}}


class FakeCluster:
    """Stands for a cluster with one Deployment: notes what is written, in its order."""

    def __init__(self, **changes: Any) -> None:
        self.deployment: dict[str, Any] | None = deployment(**changes)
        self.sets = [self._set("old", 1), self._set("new", 2)]
        self.pod: Any = container({"running": {}}, started=True)
        self.looks_until_gone = 0
        self.paused_unseen = False
        self.leaving = ""
        self.done: list[str] = []

    @staticmethod
    def _set(name: str, template: int) -> dict[str, Any]:
        owner = {"uid": "d", "controller": True}
        return {
            "metadata": {
                "name": name,
                "annotations": _template(template),
                "ownerReferences": [owner],
            },
            "spec": {"replicas": 1, "selector": {"matchLabels": OLD_LABELS}},
        }

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        if kind == "Deployment":
            return self.deployment
        if kind == "Pod":
            if isinstance(self.pod, Exception):
                raise self.pod
            return self.pod  # type: ignore[no-any-return]  # as the test gave it
        return next((one for one in self.sets if one["metadata"]["name"] == name), None)

    def find(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        if kind == "ReplicaSet":
            self._look()
            return self.sets
        assert selector.endswith("pod-template-hash=old")
        return [{"metadata": {"name": "old-pod", "labels": OLD_LABELS}, "status": {}}]

    def merge(self, _kind: str, name: str, fields: dict[str, Any]) -> None:
        self.done.append(f"{name}: {next(iter(fields.values()))}")
        if self.paused_unseen and self.deployment:
            self.deployment["metadata"]["generation"] += 1

    def delete(self, kind: str, name: str, *, alone: bool = False) -> bool:
        self.done.append(f"delete {kind} {name}" + (" alone" if alone else ""))
        self.leaving = name
        return True

    def _look(self) -> None:
        """Let what was deleted go once it was looked for often enough."""
        if not self.leaving:
            return
        self.looks_until_gone -= 1
        if self.looks_until_gone <= 0:
            self.sets = [one for one in self.sets if one["metadata"]["name"] != self.leaving]
            self.done.append(f"ReplicaSet {self.leaving} is gone")
            self.leaving = ""


def session(cluster: FakeCluster, busy: list[Any]) -> Any:
    """Return a session whose old pod has so many requests, one number for each question."""

    def requests() -> int:
        found = busy.pop(0) if len(busy) > 1 else busy[0]
        if isinstance(found, Exception):
            raise found
        return int(found)

    @contextmanager
    def replica_api(*_: object) -> Iterator[Any]:
        yield SimpleNamespace(requests=requests)

    return SimpleNamespace(
        cluster=cluster,
        clock=VirtualClock(),
        settings=SimpleNamespace(drain_timeout=timedelta(seconds=60), namespace="ns"),
        replica_api=replica_api,
    )


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


def test_a_deployment_that_is_gone_needs_not_be_let_go():
    cluster = FakeCluster()
    cluster.deployment = None
    assert tasks_overlap.strategy_of(session(cluster, [0]), NAME) == {}
    tasks_overlap.let_go(session(cluster, [0]), NAME)
    tasks_overlap.resume(session(cluster, [0]), NAME)
    tasks_overlap.set_aside.fn(session(cluster, [0]), "q", NAME)
    tasks_overlap.drain.fn(session(cluster, [0]), "q", NAME)
    assert cluster.done == []
