"""One run beside a weights Job: what the claim's record promises meanwhile, and what is said."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tasks import weights as task
from vllm_flows.claims import blob_name
from vllm_flows.diagnosis_categories import Category, Place
from vllm_flows.errors import WeightsError
from vllm_flows.models import Model
from vllm_flows.observed import MODEL_LABEL, WEIGHTS_ANNOTATION, HubFile, Verdict
from vllm_flows.settings import load_settings
from vllm_flows.weights_manifests import WeightsOrder
from vllm_flows.weights_order import MORE_ROOM

OLD, BEFORE, RUNS, NEW = (letter * 40 for letter in "abcd")
FILE = HubFile("own", 100, "d" * 64, "")
VERDICT = Verdict("m", "o/m", NEW, files=(FILE,))
ORDER = WeightsOrder(keep=(RUNS,), before=BEFORE, budget=10_000)
NO_ROOM = f"the volume has 0 bytes of room and 100 are still to come; {MORE_ROOM}"


def entry(letter: str) -> dict[str, Any]:
    return {"bytes": 100, "blobs": {letter * 12: 100}}


@dataclass
class FakeCluster:
    """A cluster with one claim, on which a Job ends as it is told, by the looks at it."""

    ends: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[Any] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    records: list[list[str]] = field(default_factory=list)
    rechecks: list[str] = field(default_factory=list)
    forgets_pods: bool = False

    def __post_init__(self) -> None:
        record = {commit: entry(commit[0]) for commit in (OLD, BEFORE, RUNS)}
        metadata = {
            "name": "weights-m",
            "uid": "u1",
            "resourceVersion": "42",
            "labels": {MODEL_LABEL: "m"},
            "annotations": {WEIGHTS_ANNOTATION: json.dumps(record)},
        }
        spec = {"resources": {"requests": {"storage": "1Gi"}}}
        self.claim = {"metadata": metadata, "spec": spec}

    def get(self, kind: str, _name: str) -> Any:
        return self.claim if kind == "PersistentVolumeClaim" else self.jobs[0]

    def find(self, kind: str, _selector: str) -> list[Any]:
        if kind == "Job":
            return self.jobs[:]
        return [self._pod()] if self.jobs and not self.forgets_pods else []

    def _pod(self) -> Any:
        state = self.jobs[0]["ended"]
        metadata = {"name": "p", "creationTimestamp": "2026-01-02T00:00:01Z"}
        ended = {"exitCode": 3 * ("error" in state), "message": json.dumps(state)}
        status = {"containerStatuses": [{"state": {"terminated": ended if state else None}}]}
        return {"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}

    def log(self, _pod: str, *, lines: int) -> str:
        assert lines
        return self.logs.pop(0) if self.logs else ""

    def apply(self, made: Any) -> None:
        if made["kind"] == "Job":
            (container,) = made["spec"]["template"]["spec"]["containers"]
            told = {each["name"]: each.get("value", "") for each in container["env"]}
            self.kept.append(told["WEIGHTS_KEEP"])
            self.rechecks.append(told["WEIGHTS_RECHECK"])
            self.jobs.append(made | {"ended": self.ends.pop(0)})
            self.end()

    def end(self) -> None:
        """Let the Job come to its end."""
        job = self.jobs[0]
        kind = "Failed" if "error" in job["ended"] else "Complete"
        condition = {"type": kind, "status": "True", "reason": "PodFailurePolicy"}
        job["status"] = {"conditions": [condition]}

    def annotate(self, _kind: str, _name: str, notes: dict[str, str]) -> None:
        self.claim["metadata"]["annotations"] |= notes  # type: ignore[index]  # a claim's own
        self.records.append(sorted(json.loads(notes[WEIGHTS_ANNOTATION])))

    def delete(self, kind: str, _name: str) -> None:
        if kind == "Job":
            self.jobs.clear()


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(task, "speaker", lambda _model, **_: lines.append)
    monkeypatch.setattr(task, "publish_progress", lambda *_: None)
    return lines


def fetch(cluster: FakeCluster) -> None:
    clock = SimpleNamespace(now=lambda: 0.0, sleep=lambda _: None)
    session: Any = SimpleNamespace(
        cluster=cluster, settings=load_settings(), token=lambda: None, clock=clock
    )
    task.fetch_weights.fn(session, Model(name="m", modelURL="o/m"), VERDICT, ORDER)


@pytest.mark.usefixtures("said")
def test_the_record_goes_on_promising_what_the_job_must_leave():
    """Whenever the run is interrupted: the volume holds what the record says, and all of it."""
    cluster = FakeCluster([{"complete": [OLD, BEFORE, RUNS, NEW]}])
    fetch(cluster)
    assert cluster.kept == [f"{OLD} {BEFORE} {RUNS}"]
    assert cluster.records == [[OLD, BEFORE, RUNS], [OLD, BEFORE, RUNS, NEW]]


@pytest.mark.usefixtures("said")
def test_a_volume_whose_record_somebody_took_away_is_read_again():
    cluster = FakeCluster([{"complete": [NEW]}])
    cluster.claim["metadata"]["annotations"] = {"vllm-flows.io/served": RUNS}
    fetch(cluster)
    assert cluster.rechecks == ["42"]


@pytest.mark.usefixtures("said")
def test_what_is_recorded_is_not_read_again():
    cluster = FakeCluster([{"complete": [OLD, BEFORE, RUNS, NEW]}])
    fetch(cluster)
    assert cluster.rechecks == [""]


@pytest.mark.usefixtures("said")
def test_what_the_job_found_damaged_is_promised_no_more():
    cluster = FakeCluster([{"complete": [BEFORE, RUNS, NEW]}])
    fetch(cluster)
    assert cluster.records[-1] == [BEFORE, RUNS, NEW]


def test_older_revisions_may_go_when_the_disk_lacks_room(said: list[str]):
    cluster = FakeCluster([{"error": NO_ROOM}, {"complete": [RUNS, NEW]}])
    fetch(cluster)
    assert cluster.kept == [f"{OLD} {BEFORE} {RUNS}", RUNS]
    assert cluster.records == [[OLD, BEFORE, RUNS], [RUNS], [RUNS, NEW]]
    assert "the volume lacks room for it beside older revisions: these may go" in said


@pytest.mark.usefixtures("said")
def test_a_volume_that_lacks_room_even_so_is_given_up():
    cluster = FakeCluster([{"error": NO_ROOM}, {"error": NO_ROOM}])
    with pytest.raises(WeightsError) as caught:
        fetch(cluster)
    assert caught.value.why == NO_ROOM


@pytest.mark.usefixtures("said")
def test_a_job_that_failed_for_another_reason_removes_nothing():
    cluster = FakeCluster([{"error": "the Hub refuses o/m to this token (HTTP 403)"}])
    with pytest.raises(WeightsError):
        fetch(cluster)
    assert cluster.records == [[OLD, BEFORE, RUNS]]


@pytest.mark.parametrize("pods", [True, False])
def test_a_job_that_was_complete_already_is_not_said_to_be_at_work(said: list[str], *, pods: bool):
    """Its run was interrupted before it wrote the record; its pod may be gone with its node."""
    cluster = FakeCluster([{"complete": [OLD, BEFORE, RUNS, NEW]}])
    fetch(cluster)
    record = {commit: entry(commit[0]) for commit in (OLD, BEFORE, RUNS)}
    cluster.claim["metadata"]["annotations"] = {WEIGHTS_ANNOTATION: json.dumps(record)}
    cluster.forgets_pods = not pods
    said.clear()
    fetch(cluster)
    assert said == ["weights Job found complete", "weights complete"]
    assert cluster.records[-1] == [OLD, BEFORE, RUNS, NEW]
    assert blob_name(FILE) in cluster.claim["metadata"]["annotations"][WEIGHTS_ANNOTATION]


def test_a_damaged_file_and_a_failed_attempt_are_said_once(said: list[str]):
    watch = task.Watch("m", SimpleNamespace(now=lambda: 0.0))  # type: ignore[arg-type]  # a clock
    again = "a: what came has not the hash that the Hub lists; fetched again"
    failed = "attempt 1 failed (wrong); trying again"
    running = task.WeightsJobState("running", "fetching 9 B", 5, 9, "n", setbacks=(again,))
    waits = task.WeightsJobState("running", failed, 5, 9, setbacks=(again, failed))
    lines = [watch.update(state) for state in (running, running, waits, waits, running)]
    assert said == [again, failed]
    assert lines[3] == "another attempt begins soon"
    assert lines[4].startswith("56 % of 9 B")


@pytest.mark.usefixtures("said")
def test_bytes_that_are_read_again_do_not_count_for_the_rate_of_the_fetching():
    moments = iter([0.0, 1.0, 2.0, 3.0, 4.0])
    watch = task.Watch("m", SimpleNamespace(now=lambda: next(moments)))  # type: ignore[arg-type]  # a clock
    checking = [task.WeightsJobState("running", "", done, 100, checking=True) for done in (0, 50)]
    fetching = [task.WeightsJobState("running", "", done, 100) for done in (60, 65)]
    lines = [watch.update(state) for state in (*checking, *fetching)]
    assert lines[1] == "checked 50 % of 100 B, 50 B/s, 1 s left"
    assert lines[2] == "60 % of 100 B"


def test_a_pod_that_can_never_run_ends_the_wait_with_the_next_command(
    said: list[str], monkeypatch: pytest.MonkeyPatch
):
    cluster = FakeCluster([{}])
    monkeypatch.setattr(cluster, "end", lambda: None)
    place = Place("vllm", "weights-m", claim="weights-m")
    waits = place.diagnosis(Category.CLAIM_UNBOUND, "no volume yet")
    refused = place.diagnosis(Category.QUOTA, "no room", "exceeded quota: q", definite=True)
    found = iter([waits, refused])
    monkeypatch.setattr(task.WeightsWatch, "trouble", lambda *_: next(found))
    cluster.forgets_pods = True
    with pytest.raises(WeightsError) as caught:
        fetch(cluster)
    assert "the weights pod: no volume yet" in said
    assert caught.value.what == "the weights pod: no room [quota]"
    assert caught.value.why == "exceeded quota: q"
    assert caught.value.next_command == refused.next_command
