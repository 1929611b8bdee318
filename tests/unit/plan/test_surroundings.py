"""What is asked of the cluster beyond our own objects, and what becomes of a refusal."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest

from vllm_flows.errors import ClusterError, ClusterUnavailableError, NoRightError
from vllm_flows.observed import WeightsClaim
from vllm_flows.surroundings import surroundings


@dataclass
class FakeCluster:
    """A cluster that lists one object of each kind."""

    forbids: bool = False
    refusal: Exception | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    pods: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    patience: object = "long"
    namespace: str = "vllm"

    def find(self, kind: str, **how: Any) -> list[Any]:
        self.asked[kind] = how
        if self.forbids:
            raise NoRightError(f"no right to list {kind}")
        return [{"kind": kind, "metadata": {"name": "one", "namespace": "vllm"}}, *self.pods[kind]]

    def get(self, kind: str, name: str) -> Any:
        if self.forbids:
            raise NoRightError(f"no right to read {kind}")
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        return {"kind": kind, "metadata": {"name": name, "labels": labels}}

    def dry_run(self, pod: Any) -> None:
        assert self.patience is None
        self.asked["dry run"] = pod
        if self.refusal:
            raise self.refusal


POD = {"kind": "Pod"}
QUOTA = 'pods "x" is forbidden: failed quota: q: must specify limits.cpu for: weights'
RIGHTS = 'pods "x" is forbidden: User "me" cannot patch resource "pods" in API group "" in ...'


def test_only_pods_that_hold_resources_are_asked_for_in_all_namespaces():
    cluster: Any = FakeCluster()
    found = surroundings(cluster, "nvidia", (), POD)
    fields = "status.phase!=Succeeded,status.phase!=Failed"
    assert cluster.asked["Pod"] == {"fields": fields, "everywhere": True}
    assert [one["kind"] for one in found.quotas or ()] == ["ResourceQuota"]
    assert found.pod_security == "restricted"
    assert found.runtime_class
    assert (cluster.asked["dry run"], found.weights_refusal) == (POD, "")


@pytest.mark.parametrize(
    "labels", [{"vllm-flows.io/draining": "true"}, {"vllm-flows.io/trial": "qwen"}]
)
def test_what_an_interrupted_run_left_holds_no_room_in_its_own_namespace(labels: Any):
    cluster: Any = FakeCluster()
    cluster.pods["Pod"] = [
        {"metadata": {"name": name, "namespace": name, "labels": labels}}
        for name in ("vllm", "others")
    ]
    found = surroundings(cluster, "nvidia", (), POD)
    assert [one["metadata"]["name"] for one in found.pods or ()] == ["one", "others"]


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (NoRightError("no right to check Pod x", why=QUOTA), QUOTA),
        (NoRightError("no right to check Pod x", why=RIGHTS), ""),
        (ClusterError("the namespace is not there"), ""),
        (ClusterUnavailableError("a webhook does not answer"), ""),
    ],
)
def test_what_the_api_would_refuse_of_a_weights_pod_is_asked_without_writing(
    refusal: Exception, told: str
):
    cluster: Any = FakeCluster(refusal=refusal)
    assert surroundings(cluster, "", (), POD).weights_refusal == told


def claim(model: str, **spec: str) -> WeightsClaim:
    return WeightsClaim(model, "1Gi", manifest={"spec": spec})


def test_the_volumes_of_all_models_are_read_at_once():
    cluster: Any = FakeCluster()
    cluster.pods["PersistentVolume"] = [{"metadata": {"name": name}} for name in ("a", "b", "c")]
    claims = [claim("qwen", volumeName="b"), claim("phi", volumeName="gone"), claim("new")]
    found = surroundings(cluster, "", claims, POD)
    assert found.volumes == {"qwen": {"metadata": {"name": "b"}}}
    assert cluster.asked["PersistentVolume"] == {}


def test_without_a_volume_none_is_looked_for():
    cluster: Any = FakeCluster()
    assert surroundings(cluster, "", [claim("new")], POD).volumes == {}
    assert "PersistentVolume" not in cluster.asked


def test_what_this_account_may_not_see_is_unknown():
    cluster: Any = FakeCluster(forbids=True)
    found = surroundings(cluster, "nvidia", [claim("qwen", volumeName="b")], POD)
    unseen = (found.nodes, found.pods, found.storage_classes, found.quotas, found.runtime_class)
    assert unseen == (None,) * 5
    assert found.volumes == {}
    assert found.pod_security == ""
