"""What an interrupted run left: how it is known, told, and dealt with by the next."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import overlap
from tests.unit.rollout.stand_ins import a_model, aim, serving
from tests.unit.rollout.test_overlap import session
from vllm_flows.diagnosis import diagnose
from vllm_flows.errors import NoRightError
from vllm_flows.guarding import unguarded
from vllm_flows.overlap import held_models, is_reached, kept_models, leftovers, serves_nobody
from vllm_flows.planner import make_plan
from vllm_flows.session import Session

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
ASIDE = {**HELD, "spec": {**HELD["spec"], "paused": True}}
FREE = deployment("vllm-b-deployment-vllm", {"model": "b"})
TRIAL = deployment("vllm-trial-q", {"vllm-flows.io/trial": "q"})
MARKED = {MARK: "vllm", "vllm-flows.io/draining": "true"}
DRAINING: dict[str, Any] = {"metadata": {"name": "old", "labels": MARKED}, "status": {}}
REACHED: dict[str, Any] = {
    "metadata": {"name": "hot", "labels": {**MARKED, "model": "q", "pod-template-hash": "5d"}},
    "status": {},
}

STAYS = {"name": "q-stays", "uid": "stays"}
GOES = {"name": "q-goes", "uid": "goes", "deletionTimestamp": "now"}


def owned(name: str, owner: dict[str, str]) -> dict[str, Any]:
    """Return a marked pod that its ReplicaSet has still."""
    marked = {"name": name, "labels": {**MARKED, "model": "q", "pod-template-hash": "5d"}}
    owners = [{"uid": owner["uid"]}]
    return {"metadata": {**marked, "ownerReferences": owners}, "status": {}}


class FakeCluster:
    """Has these objects; notes what is written."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.pods: list[Any] = [DRAINING]
        self.sets = [STAYS, GOES]
        self.engine = HELD
        self.looks = 0

    def find(self, kind: str, _selector: str = "") -> list[Any]:
        if kind == "ReplicaSet":
            return self._sets()
        return {"Deployment": [self.engine, FREE, TRIAL], "Pod": self.pods}[kind]

    def get(self, _kind: str, _name: str) -> Any:
        return self.engine

    def _sets(self) -> list[Any]:
        """Let the one that goes be gone at the third look, its pods with no owner then."""
        self.looks += 1
        if self.looks == 3:
            self.sets = [STAYS]
            self.pods = [
                {**pod, "metadata": {**pod["metadata"], "ownerReferences": None}}
                for pod in self.pods
            ]
        return [{"metadata": one} for one in self.sets]

    def delete(self, kind: str, name: str) -> bool:
        self.done.append(f"delete {kind} {name}")
        return True

    def merge(self, _kind: str, name: str, fields: Any) -> None:
        self.done.append(f"{name}: {fields.get('metadata') or fields['spec']}")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    heard: list[str] = []
    monkeypatch.setattr(overlap, "say", heard.append)
    monkeypatch.setattr(
        overlap, "speaker", lambda subject: lambda text: heard.append(f"{subject}: {text}")
    )
    return heard


@pytest.fixture
def cluster(said: list[str]) -> FakeCluster:
    del said  # nobody speaks to Prefect
    return FakeCluster()


def bring_to_its_end(cluster: Any, *busy: int) -> Any:
    """Run it with pods that have so many requests, one number for each question put to any."""
    found = session(cluster, list(busy) or [0])
    overlap.delete_leftovers(found)
    return found


def test_what_serves_nobody_is_deleted(cluster: FakeCluster):
    bring_to_its_end(cluster)
    assert cluster.done == ["delete Pod old", "delete Deployment vllm-trial-q"]


def test_what_is_left_paused_goes_on_before_anything_is_written(cluster: FakeCluster):
    cluster.engine = ASIDE
    bring_to_its_end(cluster)
    assert cluster.done[0] == "vllm-q-deployment-vllm: {'paused': None}"


def test_what_somebody_else_paused_is_no_leftover(cluster: FakeCluster):
    cluster.engine = {**FREE, "spec": {**FREE["spec"], "paused": True}}
    bring_to_its_end(cluster)
    assert cluster.done == ["delete Pod old", "delete Deployment vllm-trial-q"]


def test_what_is_left_answering_has_answered_before_it_is_deleted(
    cluster: FakeCluster, said: list[str]
):
    cluster.pods = [DRAINING, REACHED]
    found = bring_to_its_end(cluster, 2, 1, 0, 1, 0, 0)
    assert cluster.done == [
        "hot: {'labels': {'model': None, 'pod-template-hash': None}}",
        *("delete Pod old", "delete Pod hot", "delete Deployment vllm-trial-q"),
    ]
    assert found.clock.time == 3.0
    assert said[:3] == [
        f"left by an interrupted run: {text}"
        for text in (
            "2 older replicas get no more requests, and finish those they have",
            "older replicas still answer 3 requests",
            "older replicas still answer 1 requests",
        )
    ]


def test_what_is_left_answering_for_ever_is_deleted_all_the_same(
    cluster: FakeCluster, said: list[str]
):
    found = bring_to_its_end(cluster, 1)
    assert cluster.done[0] == "delete Pod old"
    assert found.clock.time >= 60
    assert any("VLLM_DRAIN_TIMEOUT" in text for text in said)


def test_what_is_being_deleted_already_is_not_waited_for(cluster: FakeCluster):
    cluster.pods = [{**DRAINING, "metadata": {**DRAINING["metadata"], "deletionTimestamp": "now"}}]
    assert bring_to_its_end(cluster, 1).clock.time == 0.0


def test_a_pod_that_was_marked_and_serves_on_is_marked_no_more(cluster: FakeCluster):
    cluster.pods = [owned("serves", STAYS)]
    bring_to_its_end(cluster)
    unmarked, *deleted = cluster.done
    assert unmarked == "serves: {'labels': {'vllm-flows.io/draining': None}}"
    assert deleted == ["delete Deployment vllm-trial-q"]


def test_a_pod_that_is_about_to_lose_its_owner_is_out_of_reach_once_it_has_none(
    cluster: FakeCluster,
):
    cluster.pods = [owned("soon nobody's", GOES)]
    bring_to_its_end(cluster)
    assert cluster.looks == 3
    assert cluster.done == [
        "soon nobody's: {'labels': {'model': None, 'pod-template-hash': None}}",
        *("delete Pod soon nobody's", "delete Deployment vllm-trial-q"),
    ]


def test_a_pod_that_still_gets_requests_serves_somebody():
    assert is_reached(REACHED)
    assert not serves_nobody(REACHED)
    assert not is_reached(DRAINING)
    assert serves_nobody(DRAINING)
    assert not is_reached(owned("serves", STAYS))


def test_a_trial_is_no_model_that_is_held():
    assert held_models([HELD, FREE, {**TRIAL, "spec": HELD["spec"]}]) == {"q"}


def test_a_plan_says_what_an_interrupted_run_left_and_is_a_change():
    state = serving(aim(a_model("q")))
    assert not make_plan(aim(a_model("q")), state).changes
    found = leftovers([DRAINING, REACHED], [TRIAL])
    plan = make_plan(
        aim(a_model("q")),
        replace(state, held=frozenset("pq"), kept=frozenset("q"), leftovers=found),
    )
    assert plan.changes
    assert not plan.release_reason
    by = " (an interrupted run left it so)"
    assert [note.removesuffix(by) for note in plan.notes[:5]] == [
        "p: its rollout is held, and no older replica is kept for it any more: it goes on",
        "q: its older replicas are kept beside the new ones",
        "Pod old gets no more requests, and ends once it has none left",
        "Pod hot still gets requests, and ends once it gets none and has none left",
        "Deployment vllm-trial-q serves nobody, and goes",
    ]


def test_older_replicas_are_kept_only_while_the_rollout_has_any():
    both = {**HELD, "status": {"replicas": 2, "updatedReplicas": 1}}
    assert kept_models([both, {**FREE, "status": both["status"]}]) == {"q"}
    assert kept_models([{**HELD, "status": {"replicas": 1, "updatedReplicas": 1}}]) == frozenset()


def test_what_another_run_at_work_has_in_hand_is_no_matter_of_this_plan():
    state = serving(aim(a_model("q")))
    in_hand = replace(
        state, held=frozenset("b"), leftovers=leftovers([DRAINING], [TRIAL]), at_work=True
    )
    plan = make_plan(aim(a_model("q")), in_hand)
    assert not plan.changes
    assert plan.notes == make_plan(aim(a_model("q")), state).notes


@pytest.mark.parametrize(
    ("guard", "holder", "at_work"),
    [(unguarded, None, False), (unguarded, "somebody", True), (lambda: None, "this run", False)],
    ids=["nobody", "another run", "this run"],
)
def test_who_holds_the_lock_itself_finds_what_was_left(
    monkeypatch: pytest.MonkeyPatch, guard: Any, holder: str | None, *, at_work: bool
):
    monkeypatch.setattr("vllm_flows.session.current_holder", lambda _: holder)
    here: Any = SimpleNamespace(cluster=SimpleNamespace(guard=guard))
    assert Session.another_at_work(here) is at_work


def test_who_may_not_see_the_lock_gets_a_plan_all_the_same(monkeypatch: pytest.MonkeyPatch):
    def refuse(_: object) -> None:
        raise NoRightError("no right to get Lease")

    monkeypatch.setattr("vllm_flows.session.current_holder", refuse)
    here: Any = SimpleNamespace(cluster=SimpleNamespace(guard=unguarded))
    assert not Session.another_at_work(here)


def test_a_rollout_that_is_held_says_so_and_how_it_goes_on():
    both = {**HELD, "status": {"replicas": 2, "updatedReplicas": 1}}
    found = diagnose(both, [])
    assert "its older replicas are kept beside the new ones" in found.summary
    assert "its older replicas ended" in diagnose(HELD, []).summary
    assert found.next_command.startswith("vllm-flows update q ")
    paused = {**both, "spec": {**HELD["spec"], "paused": True}}
    assert diagnose(paused, []) == found
