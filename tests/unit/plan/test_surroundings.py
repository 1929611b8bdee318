"""What is asked of the cluster beyond our own objects, and what becomes of a refusal."""

from __future__ import annotations

from typing import Any

from vllm_flows.errors import NoRightError
from vllm_flows.surroundings import surroundings


class FakeCluster:
    """A cluster that lists one object of each kind."""

    namespace = "vllm"

    def __init__(self, *, forbids: bool = False) -> None:
        self.forbids = forbids
        self.asked: dict[str, Any] = {}

    def find(self, kind: str, **how: Any) -> list[Any]:
        self.asked[kind] = how
        if self.forbids:
            raise NoRightError(f"no right to list {kind}")
        return [{"kind": kind}]

    def get(self, kind: str, name: str) -> Any:
        if self.forbids:
            raise NoRightError(f"no right to read {kind}")
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        return {"kind": kind, "metadata": {"name": name, "labels": labels}}


def test_only_pods_that_hold_resources_are_asked_for_in_all_namespaces():
    cluster: Any = FakeCluster()
    found = surroundings(cluster, "nvidia", ())
    fields = "status.phase!=Succeeded,status.phase!=Failed"
    assert cluster.asked["Pod"] == {"fields": fields, "everywhere": True}
    assert found.quotas == ({"kind": "ResourceQuota"},)
    assert found.pod_security == "restricted"
    assert found.runtime_class


def test_what_this_account_may_not_see_is_unknown():
    cluster: Any = FakeCluster(forbids=True)
    found = surroundings(cluster, "nvidia", ())
    unseen = (found.nodes, found.pods, found.storage_classes, found.quotas, found.runtime_class)
    assert unseen == (None,) * 5
    assert found.pod_security == ""
