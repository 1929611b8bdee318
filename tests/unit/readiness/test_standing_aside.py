"""Which older pods end when the wanted ones have no room."""

from __future__ import annotations

from typing import Any

import pytest

from tasks import readiness
from vllm_flows.errors import NoRightError
from vllm_flows.standing_aside import in_the_way

TEMPLATE = "deployment.kubernetes.io/revision"


def deployment(seen: int = 4) -> dict[str, Any]:
    return {
        "metadata": {"uid": "d", "generation": 4, "annotations": {TEMPLATE: "7"}},
        "status": {"observedGeneration": seen},
    }


def replica_set(
    name: str, template: str, replicas: int, ready: int = 0, owner: str = "d"
) -> dict[str, Any]:
    owners = [{"uid": owner, "controller": True}]
    return {
        "metadata": {"name": name, "ownerReferences": owners, "annotations": {TEMPLATE: template}},
        "spec": {"replicas": replicas},
        "status": {"readyReplicas": ready} if ready else {},
    }


SETS = [
    replica_set("wanted", "7", 1),
    replica_set("failing", "6", 1),
    replica_set("answering", "5", 2, ready=1),
    replica_set("ended", "4", 0),
    replica_set("another", "1", 1, owner="somebody's"),
]


def names(found: list[dict[str, Any]]) -> list[str]:
    return [str(one["metadata"]["name"]) for one in found]


def test_older_pods_of_which_none_is_ready_stand_aside():
    assert names(in_the_way(deployment(), SETS)) == ["failing"]


def test_what_failed_its_proof_stands_aside_even_if_it_is_ready():
    assert names(in_the_way(deployment(), SETS, answering=True)) == ["failing", "answering"]


def test_nothing_stands_aside_before_the_controller_knows_what_is_wanted():
    assert in_the_way(deployment(seen=3), SETS, answering=True) == []


class FakeCluster:
    """Has the ReplicaSets above, unless they may not be read; notes what is written."""

    def __init__(self, *, readable: bool = True) -> None:
        self.readable = readable
        self.written: list[tuple[str, Any]] = []

    def find(self, kind: str) -> list[Any]:
        assert kind == "ReplicaSet"
        if not self.readable:
            raise NoRightError("may not list ReplicaSets")
        return SETS

    def merge(self, _kind: str, name: str, patch: Any) -> None:
        self.written.append((name, patch))


@pytest.mark.parametrize("back", [False, True])
def test_their_pods_are_ended_and_it_is_said(monkeypatch: pytest.MonkeyPatch, *, back: bool):
    said: list[str] = []

    def speaker(subject: str) -> Any:
        return lambda text: said.append(f"{subject}: {text}")

    monkeypatch.setattr(readiness, "speaker", speaker)
    cluster = FakeCluster()
    session: Any = type("Session", (), {"cluster": cluster})
    assert readiness.made_way(session, "qwen", deployment(), back=back)
    ended = ["failing", "answering"] if back else ["failing"]
    assert cluster.written == [(name, {"spec": {"replicas": 0}}) for name in ended]
    assert said[0].startswith("qwen: the older pods of ReplicaSet failing end")


def test_without_the_right_to_end_them_the_diagnosis_is_what_remains():
    session: Any = type("Session", (), {"cluster": FakeCluster(readable=False)})
    assert not readiness.made_way(session, "qwen", deployment(), back=False)
