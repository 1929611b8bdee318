"""Deployments that another chart lets select other pods, and what is handed over to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tasks import handover
from tasks.handover import delete_left, hand_over
from vllm_flows.selectors import LEFT_LABEL, deployment_of, left_alone
from vllm_flows.session import Session
from vllm_flows.settings import load_settings
from vllm_flows.waiting import StoppableClock

ENGINE = "vllm-qwen-deployment-vllm"
OLD = {"model": "qwen"}
NEW = {"model": "qwen", "part-of": "stack"}


def a_deployment(name: str = ENGINE, uid: str = "1", selected: Mapping[str, str] = OLD) -> Any:
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "uid": uid},
        "spec": {"selector": {"matchLabels": dict(selected)}},
    }


def a_replica_set(owner: str = "", digest: str = "abc", replicas: int = 1) -> Any:
    labels = {**OLD, "pod-template-hash": digest}
    owners = [{"uid": owner, "controller": True}] if owner else []
    return {
        "kind": "ReplicaSet",
        "metadata": {"name": f"{ENGINE}-{digest}", "labels": labels, "ownerReferences": owners},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}},
    }


@dataclass
class FakeCluster:
    """A fake: objects of a namespace; it writes down what was changed, in order."""

    objects: list[Any]
    written: list[tuple[Any, ...]] = field(default_factory=list)

    def find(self, kind: str, selector: str = "") -> list[Any]:
        wanted = dict(pair.partition("=")[::2] for pair in selector.split(",") if "=" in pair)
        return [
            one
            for one in self.objects
            if one["kind"] == kind and wanted.items() <= one["metadata"].get("labels", {}).items()
        ]

    def get(self, kind: str, name: str) -> Any:
        return next((one for one in self.find(kind) if one["metadata"]["name"] == name), None)

    def merge(self, kind: str, name: str, fields: Any) -> None:
        self.get(kind, name)["metadata"]["labels"] |= fields["metadata"]["labels"]
        self.written.append(("label", kind, name))

    def delete(self, kind: str, name: str, *, alone: bool = False) -> bool:
        self.objects.remove(self.get(kind, name))
        self.written.append(("delete", kind, name, alone))
        return True


def pod(labels: Mapping[str, str], name: str = "p") -> Any:
    return {"kind": "Pod", "metadata": {"name": name, "labels": dict(labels)}}


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(handover, "say", lambda _text: None)  # outside a run nobody listens
    return Session(load_settings(), None, None, StoppableClock())  # type: ignore[arg-type]  # set below


def with_objects(session: Session, *objects: Any) -> tuple[Session, FakeCluster]:
    cluster = FakeCluster(list(objects))
    return replace(session, cluster=cluster), cluster  # type: ignore[arg-type]  # a fake


def test_pods_and_replica_sets_get_the_new_labels_before_their_deployment_goes(session: Session):
    theirs, mine = a_replica_set("1"), pod(a_replica_set()["metadata"]["labels"])
    other = pod({"model": "other", "pod-template-hash": "abc"}, "other")
    there, cluster = with_objects(session, a_deployment(), theirs, mine, other)
    hand_over(there, {ENGINE: NEW})
    assert cluster.written == [
        ("label", "ReplicaSet", f"{ENGINE}-abc"),
        ("label", "Pod", "p"),
        ("delete", "Deployment", ENGINE, True),
    ]
    assert theirs["metadata"]["labels"] == {**NEW, "pod-template-hash": "abc", LEFT_LABEL: "true"}
    assert mine["metadata"]["labels"] == {**NEW, "pod-template-hash": "abc"}
    assert other["metadata"]["labels"]["model"] == "other"


def test_a_deployment_that_selects_what_is_wanted_stays(session: Session):
    there, cluster = with_objects(session, a_deployment(selected=NEW), a_replica_set("1"))
    hand_over(there, {ENGINE: NEW})
    assert cluster.written == []


def test_what_an_interrupted_run_left_gets_the_labels_of_the_chart_that_is_wanted_now(
    session: Session,
):
    there, cluster = with_objects(session, a_replica_set())
    hand_over(there, {ENGINE: NEW})
    assert cluster.written == [("label", "ReplicaSet", f"{ENGINE}-abc")]


def test_only_replica_sets_that_nobody_owns_were_left():
    left = [a_replica_set(digest="new", replicas=2), a_replica_set(digest="old", replicas=0)]
    assert left_alone([*left, a_replica_set("1")]) == left[::-1]
    assert {deployment_of(one) for one in left} == {ENGINE}


def test_of_what_was_left_only_that_of_the_named_deployments_is_deleted(session: Session):
    left = a_replica_set()
    left["metadata"]["labels"][LEFT_LABEL] = "true"
    there, cluster = with_objects(session, left)
    delete_left(there.cluster, {"another"})
    assert cluster.written == []
    delete_left(there.cluster, {ENGINE})
    assert cluster.written == [("delete", "ReplicaSet", f"{ENGINE}-abc", False)]
