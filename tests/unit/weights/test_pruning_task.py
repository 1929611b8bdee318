"""The record of a volume while it is pruned: it never promises what may be gone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tasks import pruning as tasks
from tasks import weights
from tests.support import VirtualClock
from vllm_flows.errors import WeightsError
from vllm_flows.observed import MODEL_LABEL, WEIGHTS_ANNOTATION
from vllm_flows.pruning import Pruning
from vllm_flows.session import Session
from vllm_flows.settings import load_settings
from vllm_flows.weights_manifests import WeightsOrder

A, B = "a" * 40, "b" * 40
JOB = "weights-qwen-prune"


def ended(kind: str, word: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the status of a Job that ended so, and its pod with the program's last word."""
    job = {"conditions": [{"type": kind, "status": "True"}]}
    terminated = {"exitCode": 0 if kind == "Complete" else 3, "message": json.dumps(word)}
    statuses = [{"state": {"terminated": terminated}}]
    pod = {
        "metadata": {"name": "pod", "creationTimestamp": "1"},
        "spec": {},
        "status": {"containerStatuses": statuses},
    }
    return job, pod


@dataclass
class FakeCluster:
    """A fake: one claim, Jobs that end at once as `ends` says, and what was done in order."""

    ends: tuple[dict[str, Any], dict[str, Any]]
    record: str = json.dumps({commit: {"bytes": 1} for commit in (A, B)})
    jobs: list[str] = field(default_factory=lambda: ["weights-qwen-bbbbbbbb"])
    done: list[str] = field(default_factory=list)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        if kind == "Job":
            return {"metadata": {"name": name}, "status": self.ends[0]}
        notes = {WEIGHTS_ANNOTATION: self.record}
        return {"metadata": {"name": name, "uid": "u", "annotations": notes}}

    def find(self, kind: str, selector: str) -> list[dict[str, Any]]:
        if kind == "Job":
            assert selector == f"{MODEL_LABEL}=qwen"
            return [{"metadata": {"name": name}} for name in self.jobs]
        return [self.ends[1]] if JOB in self.jobs and selector.endswith(JOB) else []

    def annotate(self, kind: str, _name: str, notes: Mapping[str, str]) -> None:
        assert kind == "PersistentVolumeClaim"
        self.record = notes[WEIGHTS_ANNOTATION]
        self.done.append(f"record {''.join(sorted(key[0] for key in json.loads(self.record)))}")

    def apply(self, body: Mapping[str, Any]) -> None:
        if body["kind"] == "Job":
            self.jobs.append(body["metadata"]["name"])
        self.done.append(f"apply {body['kind']}")

    def delete(self, kind: str, name: str) -> bool:
        if kind == "Job":
            self.jobs.remove(name)
        self.done.append(f"delete {kind} {name}")
        return True

    def log(self, _pod: str, lines: int) -> str:
        assert lines
        return ""


@pytest.fixture(autouse=True)
def _said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    for module in (tasks, weights):
        monkeypatch.setattr(module, "speaker", lambda _, **__: said.append)
    monkeypatch.setattr(weights, "publish_progress", lambda *_: None)
    return said


def pruned(cluster: FakeCluster) -> int:
    session: Any = Session(load_settings(), cluster, None, VirtualClock())  # type: ignore[arg-type]  # fakes
    return tasks.prune_volume.fn(session, Pruning("qwen", (A,), (B,)), WeightsOrder(keep=(A,)))


def test_the_record_forgets_before_the_job_starts_and_no_complete_job_is_left_to_be_adopted():
    cluster = FakeCluster(ended("Complete", {"freed": 7, "complete": [A]}))
    assert pruned(cluster) == 7
    assert cluster.done[:4] == [
        "record a",
        "delete Job weights-qwen-bbbbbbbb",
        "apply ConfigMap",
        "apply Job",
    ]
    assert cluster.done[4:] == ["record a", f"delete ConfigMap {JOB}", f"delete Job {JOB}"]


def test_a_commit_that_the_job_did_not_find_whole_is_forgotten_too():
    cluster = FakeCluster(ended("Complete", {"freed": 7, "complete": [B]}))
    pruned(cluster)
    assert json.loads(cluster.record) == {}


def test_a_job_that_fails_leaves_a_record_that_is_true_and_its_log():
    cluster = FakeCluster(ended("Failed", {"error": "the volume: read-only"}))
    with pytest.raises(WeightsError, match="could not be pruned") as failed:
        pruned(cluster)
    assert failed.value.why == "the volume: read-only"
    assert cluster.done[0] == "record a"
    assert cluster.jobs == [JOB]


def test_a_volume_that_nobody_uses_goes_with_the_jobs_that_filled_it():
    cluster = FakeCluster(ended("Complete", {}))
    session: Any = Session(load_settings(), cluster, None, VirtualClock())  # type: ignore[arg-type]  # fakes
    tasks.delete_volume.fn(session, Pruning("qwen", whole=True))
    assert cluster.done == [
        "delete Job weights-qwen-bbbbbbbb",
        "delete PersistentVolumeClaim weights-qwen",
    ]
