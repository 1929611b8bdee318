"""Why a weights pod does not run, on a cluster that answers what the test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from vllm_flows.diagnosis_categories import Category
from vllm_flows.errors import NoRightError
from vllm_flows.models import Model
from vllm_flows.observed import HubFile, Verdict
from vllm_flows.settings import load_settings
from vllm_flows.weights_manifests import WeightsOrder, weights_job
from vllm_flows.weights_watch import WeightsWatch

VERDICT = Verdict("q", "o/q", "a" * 40, files=(HubFile("a", 7, None, "b"),))
IMAGE = "vllm/vllm-openai:missing"
GONE = 'failed to pull and unpack image: "missing": not found'
BACK_OFF = f'Back-off pulling image "{IMAGE}"'


def a_job() -> dict[str, Any]:
    job = weights_job(Model(name="q", modelURL="o/q"), VERDICT, load_settings(), WeightsOrder())
    job["metadata"] |= {"namespace": "vllm", "uid": "job-1"}
    job["spec"]["selector"] = {"matchLabels": {"job-name": job["metadata"]["name"]}}
    return job


def a_pod(node: str = "gpu-1", **status: Any) -> dict[str, Any]:
    metadata = {"name": "p", "uid": "p", "creationTimestamp": "2026-01-02T00:00:01Z", "labels": {}}
    return {"metadata": metadata, "spec": {"nodeName": node}, "status": status}


def waits_for_image(reason: str, message: str) -> dict[str, Any]:
    waiting = {"waiting": {"reason": reason, "message": message}}
    status = {"name": "weights", "ready": False, "image": IMAGE, "state": waiting}
    return a_pod(phase="Pending", containerStatuses=[status])


@dataclass
class FakeCluster:
    """What the watch asks of a cluster."""

    pods: list[Any] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)
    events: dict[str, list[Any]] = field(default_factory=dict)
    claim: Any = None
    forbidden: bool = False
    namespace: str = "vllm"

    def find(self, kind: str, selector: str = "", *, fields: str = "") -> list[Any]:
        if kind == "Event":
            if self.forbidden:
                raise NoRightError("no right to list events")
            return self.events.get(fields.split(",", maxsplit=1)[0].partition("=")[2], [])
        if kind == "Pod":
            return self.others if "!=" in selector else self.pods
        return []

    def get(self, kind: str, name: str) -> Any:
        assert (kind, name) == ("PersistentVolumeClaim", "weights-q")
        return self.claim

    def log(self, *_: Any, **__: Any) -> str:
        return ""

    def refuse(self, message: str) -> None:
        event = {
            "metadata": {"creationTimestamp": "2026-01-02T00:00:02Z"},
            "reason": "FailedCreate",
            "message": f"Error creating: {message}",
            "involvedObject": {"uid": "job-1"},
        }
        self.events["Job"] = [event]


class Fixture:
    """A watch, its cluster, and time that passes when told to."""

    def __init__(self) -> None:
        self.cluster, self.time, self.job = FakeCluster(), 0.0, a_job()
        self.watch = WeightsWatch(self.cluster, lambda: self.time)  # type: ignore[arg-type]

    def look(self, after: float = 1.0) -> Any:
        self.time += after
        return self.watch.trouble(self.job, self.cluster.pods)


@pytest.fixture
def fixture() -> Fixture:
    return Fixture()


REFUSALS = [
    ("failed quota: q: must specify limits.cpu for: weights", Category.QUOTA, "LimitRange"),
    ("exceeded quota: q, requested: pods=1", Category.QUOTA, "describe resourcequota"),
    (
        'violates PodSecurity "restricted:latest": runAsNonRoot != true',
        Category.POD_SECURITY,
        "VLLM_WEIGHTS_USER=1000",
    ),
    ("maximum memory usage per Container is 1Gi, but limit is 2Gi", Category.REFUSED, "events"),
]


@pytest.mark.parametrize(("words", "category", "command"), REFUSALS)
def test_a_pod_that_the_api_refuses_ends_the_wait_with_a_command(
    fixture: Fixture, words: str, category: Category, command: str
):
    fixture.cluster.refuse(f'pods "weights-q-x" is forbidden: {words}')
    found = fixture.look()
    assert (found.category, found.definite) == (category, True)
    assert words in found.detail
    assert command in found.next_command
    assert fixture.watch.last is found


def test_a_pod_that_is_refused_after_a_failed_attempt_ends_the_wait_too(fixture: Fixture):
    fixture.cluster.pods = [a_pod(phase="Failed")]
    assert fixture.look() is None
    fixture.cluster.refuse("failed quota: q: must specify limits.cpu")
    assert fixture.look().definite


def test_quota_that_jobs_of_other_models_hold_becomes_free(fixture: Fixture):
    fixture.cluster.refuse("exceeded quota: q, requested: pods=1")
    fixture.cluster.others = [a_pod(phase="Running")]
    assert not fixture.look().definite
    fixture.cluster.others = [a_pod(phase="Succeeded")]
    assert not fixture.look(after=60).definite  # Kubernetes may not have tried again
    assert fixture.look(after=60).definite


def test_a_pod_that_runs_and_has_said_nothing_yet_is_in_no_trouble(fixture: Fixture):
    ready = {"type": "Ready", "status": "True"}
    fixture.cluster.pods = [a_pod(phase="Running", conditions=[ready])]
    assert fixture.look() is None


def test_without_the_right_to_read_events_nothing_is_known(fixture: Fixture):
    fixture.cluster.forbidden = True
    assert fixture.look() is None


def test_an_image_that_is_not_there_is_one_line_and_ends_the_wait_at_the_second_refusal(
    fixture: Fixture,
):
    failed = {"reason": "Failed", "message": f"Failed to pull image: {GONE}", "count": 1}
    fixture.cluster.events["Pod"] = [failed]
    fixture.cluster.pods = [waits_for_image("ErrImagePull", GONE)]
    first = fixture.look()
    fixture.cluster.pods = [waits_for_image("ImagePullBackOff", BACK_OFF)]
    second = fixture.look()
    assert first.summary == second.summary == f"the image cannot be pulled: {IMAGE}"
    assert (first.definite, second.definite) == (False, True)
    assert "VLLM_MODEL_TAG" in second.next_command


def test_a_claim_without_a_volume_is_told_with_its_provisioners_words(fixture: Fixture):
    fixture.cluster.pods = [a_pod(node="", phase="Pending")]
    assert fixture.look().summary == "waiting for the scheduler"
    fixture.cluster.claim = {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "weights-q"},
        "status": {"phase": "Pending"},
    }
    fixture.cluster.events["PersistentVolumeClaim"] = [{"message": "waits for example.com/none"}]
    found = fixture.look(after=100)
    command = "kubectl -n vllm describe pvc weights-q"
    assert (found.next_command, found.definite) == (command, False)
    assert found.summary == f"its claim weights-q has no volume yet   ({command})"
    assert found.detail == "waits for example.com/none"
    fixture.cluster.claim["status"]["phase"] = "Bound"
    assert fixture.look().category is Category.UNSCHEDULABLE


def test_no_room_for_the_job_settles_with_what_it_takes(fixture: Fixture):
    message = "0/1 nodes are available: 1 Insufficient memory."
    condition = {"type": "PodScheduled", "status": "False", "message": message}
    fixture.cluster.pods = [a_pod(node="", phase="Pending", conditions=[condition])]
    assert not fixture.look().definite
    found = fixture.look(after=21)
    assert (found.category, found.definite) == (Category.NO_ROOM, True)
    assert "half a CPU and 1 GiB" in found.next_command
