"""What an interrupted run left: how it is known, told, and dealt with by the next."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import overlap
from tests.unit.rollout.stand_ins import a_model, aim, serving
from vllm_flows.diagnosis import diagnose
from vllm_flows.overlap import held_models
from vllm_flows.planner import make_plan

MARK = "helm-release-name"


def deployment(name: str, labels: dict[str, str], held: float | None = None) -> dict[str, Any]:
    spec = {
        "progressDeadlineSeconds": 1200,
        "minReadySeconds": held,
        "replicas": 1,
        "template": {"metadata": {}},
    }
    return {
        "metadata": {"name": name, "namespace": "ns", "labels": {MARK: "vllm", **labels}},
        "spec": spec,
        "status": {},
    }


HELD = deployment("vllm-q-deployment-vllm", {"model": "q"}, 1199)
FREE = deployment("vllm-b-deployment-vllm", {"model": "b"})
TRIAL = deployment("vllm-trial-q", {"vllm-flows.io/trial": "q"})
DRAINING = {"metadata": {"name": "old", "labels": {"vllm-flows.io/draining": "true"}}}


STAYS, GOES = {"uid": "stays"}, {"uid": "goes", "deletionTimestamp": "now"}


def owned(name: str, owner: dict[str, str]) -> dict[str, Any]:
    """Return a marked pod that its ReplicaSet has still."""
    marked = {"name": name, "labels": {"vllm-flows.io/draining": "true"}}
    return {"metadata": {**marked, "ownerReferences": [{"uid": owner["uid"]}]}}


class FakeCluster:
    """Has these objects; notes what is written."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.pods: list[Any] = [DRAINING]

    def find(self, kind: str, _selector: str = "") -> list[Any]:
        sets = [{"metadata": one} for one in (STAYS, GOES)]
        return {"Deployment": [HELD, FREE, TRIAL], "ReplicaSet": sets, "Pod": self.pods}[kind]

    def get(self, _kind: str, name: str) -> Any:
        return next(one for one in (HELD, FREE) if one["metadata"]["name"] == name)

    def delete(self, kind: str, name: str) -> bool:
        self.done.append(f"delete {kind} {name}")
        return True

    def merge(self, _kind: str, name: str, fields: Any) -> None:
        self.done.append(f"{name}: {fields.get('spec') or fields['metadata']}")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    for name in ("say", "speaker"):
        monkeypatch.setattr(overlap, name, lambda _: lambda _: None)
    return FakeCluster()


def test_what_serves_nobody_is_deleted(cluster: FakeCluster):
    overlap.delete_leftovers(SimpleNamespace(cluster=cluster))  # type: ignore[arg-type]  # a stand-in
    assert cluster.done == ["delete Pod old", "delete Deployment vllm-trial-q"]


def test_a_pod_that_was_marked_and_serves_on_is_marked_no_more(cluster: FakeCluster):
    cluster.pods = [owned("serves", STAYS), owned("soon nobody's", GOES)]
    overlap.delete_leftovers(SimpleNamespace(cluster=cluster))  # type: ignore[arg-type]  # a stand-in
    unmarked, *deleted = cluster.done
    assert unmarked == "serves: {'labels': {'vllm-flows.io/draining': None}}"
    assert deleted == ["delete Deployment vllm-trial-q"]


def test_rollouts_that_are_held_go_on_and_no_others(cluster: FakeCluster):
    overlap.let_all_go(SimpleNamespace(cluster=cluster))  # type: ignore[arg-type]  # a stand-in
    assert cluster.done == ["vllm-q-deployment-vllm: {'minReadySeconds': None}"]


def test_a_trial_is_no_model_that_is_held():
    assert held_models([HELD, FREE, {**TRIAL, "spec": HELD["spec"]}]) == {"q"}


def test_a_plan_says_what_an_interrupted_run_left_and_is_a_change():
    state = serving(aim(a_model("q")))
    assert not make_plan(aim(a_model("q")), state).changes
    left = replace(state, held=frozenset("q"), leftovers=(("Deployment", "vllm-trial-q"),))
    plan = make_plan(aim(a_model("q")), left)
    assert plan.changes
    assert not plan.release_reason
    kept, gone, *_ = plan.notes
    assert kept.startswith("q: its older replicas are kept beside the new ones")
    assert gone.startswith("Deployment vllm-trial-q serves nobody, and goes")


def test_a_rollout_that_is_held_says_so_and_how_it_goes_on():
    found = diagnose(HELD, [])
    assert "its older replicas are kept beside the new ones" in found.summary
    assert found.next_command.startswith("vllm-flows install")
