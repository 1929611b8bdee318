"""Which pods a scale-down leaves: those that the ReplicaSet controller would leave."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_flows.scale_down import remaining

OURS = {"helm-release-name": "vllm", "model": "qwen"}
OLD, NEW = "2030-01-01T00:00:00Z", "2030-01-02T00:00:00Z"


def pod(name: str, node: str = "a", created: str = OLD, *, ready: bool = True, **meta: Any) -> Any:
    """Return an engine's pod; one without a node waits for it, and has no condition `Ready`."""
    metadata = {"name": name, "namespace": "vllm", "labels": OURS, "creationTimestamp": created}
    scheduled = {"type": "PodScheduled", "status": "True" if node else "False"}
    conditions = [scheduled, *([{"type": "Ready", "status": str(ready)}] if node else [])]
    return {
        "metadata": metadata | meta,
        "spec": {"nodeName": node} if node else {},
        "status": {"conditions": conditions},
    }


def left(*pods: Any, stays: int = 1) -> list[str]:
    """Return the names of those that are left when so many of the model `qwen` stay."""
    return [one["metadata"]["name"] for one in remaining(pods, {"qwen": stays}, "vllm")]


def test_what_is_being_deleted_is_left_out_and_does_not_count_as_one_that_stays():
    going = pod("going", deletionTimestamp=NEW)
    assert left(going, pod("stays", created=NEW)) == ["stays"]
    other = pod("other", labels={}, deletionTimestamp=NEW)
    assert left(other, pod("stays")) == ["stays"]


@pytest.mark.parametrize(
    "meta",
    [
        {"namespace": "other"},
        {"labels": {**OURS, "helm-release-name": "other"}},
        {"labels": {"model": "qwen"}},
        {"labels": {**OURS, "model": "llama"}},
        {"labels": None},
    ],
)
def test_pods_of_others_stay(meta: dict[str, Any]):
    assert left(pod("theirs", **meta), pod("ours"), stays=0) == ["theirs"]


def test_a_pod_without_a_node_ends_before_one_that_is_not_ready():
    assert left(pod("waits", "", OLD), pod("loads", "a", NEW, ready=False)) == ["loads"]


def test_a_pod_that_is_not_ready_ends_before_an_older_one_that_is():
    assert left(pod("loads", "a", OLD, ready=False), pod("serves", "b", NEW)) == ["serves"]


def test_pods_that_are_not_ready_count_as_sharing_a_node():
    # kubernetes: getPodsRankedByRelatedPodsOnSameNode counts all active pods.
    crowded = [pod("old", "a", OLD), pod("loads", "a", NEW, ready=False)]
    assert left(*crowded, pod("alone", "b", NEW)) == ["alone"]


def test_of_equals_the_oldest_stay():
    pods = [pod("new", "a", NEW), pod("old", "b", OLD), pod("newer", "c", "2030-01-03T00:00:00Z")]
    assert left(*pods, stays=2) == ["old", "new"]


def test_all_stay_where_more_are_wanted_than_there_are():
    assert left(pod("one"), pod("two", "b"), stays=5) == ["one", "two"]
