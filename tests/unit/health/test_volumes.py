"""The volumes: what the Jobs are, what their program sees, and what is made of it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import VirtualClock
from vllm_flows.errors import ClusterUnavailableError, NoRightError
from vllm_flows.health import Kind, State
from vllm_flows.health_volume_job import LABEL, batches, job_of, program_of
from vllm_flows.health_volume_rules import Volume, judge_volume, volumes_in, why_stuck
from vllm_flows.health_volumes import inspect_volumes
from vllm_flows.observed import REVISION_ANNOTATION, WeightsClaim
from vllm_flows.settings import Settings
from vllm_flows.weights_inspection import CACHES, LINE, Pace, inspected, main

COMMIT, OTHER = "a" * 40, "b" * 40
LARGE, SMALL = b"x" * 5000, b"small"
SHA256 = hashlib.sha256(LARGE).hexdigest()
SHA1 = hashlib.sha1(b"blob 5\0small", usedforsecurity=False).hexdigest()
BLOBS = {SHA256[:12]: 5000, SHA1[:12]: 5}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Make a volume with two files, as they were fetched."""
    folder = tmp_path / "hub/models--org--qwen"
    (folder / "blobs").mkdir(parents=True)
    for name, etag, data in (("model.safetensors", SHA256, LARGE), ("sub/c.json", SHA1, SMALL)):
        (folder / "blobs" / etag).write_bytes(data)
        link = folder / "snapshots" / COMMIT / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder / "blobs" / etag)
    return tmp_path / "hub"


def told(cache: Path, *, deep: bool = False) -> dict[str, Any]:
    volume = {"model": "qwen", "commits": {COMMIT: BLOBS}}
    return inspected(volume, cache, Pace(0), deep=deep)


def blob(cache: Path, etag: str) -> Path:
    return cache / "models--org--qwen/blobs" / etag


@pytest.mark.parametrize("deep", [False, True])
def test_a_volume_that_is_as_it_was_fetched_is_well(cache: Path, *, deep: bool):
    found = told(cache, deep=deep)
    assert (found["broken"], found["count"], found["error"]) == ([], 0, "")
    assert found["used"] == 5005
    assert found["total"] > found["free"] > 0


def test_a_file_that_was_cut_or_taken_away_is_named(cache: Path):
    blob(cache, SHA256).write_bytes(b"x" * 7)
    blob(cache, SHA1).unlink()
    found = told(cache)
    assert sorted((one["file"], one["how"]) for one in found["broken"]) == [
        ("model.safetensors", "has 7 bytes and should have 5000"),
        ("sub/c.json", "is missing"),
    ]


def test_a_file_that_the_engine_does_not_find_by_its_name_is_broken(cache: Path):
    (cache / "models--org--qwen/snapshots" / COMMIT / "sub/c.json").unlink()
    (one,) = told(cache)["broken"]
    assert one["how"] == "is not linked"


@pytest.mark.parametrize(("etag", "data"), [(SHA256, b"y" * 5000), (SHA1, b"smalL")])
def test_other_bytes_of_the_same_number_are_seen_by_a_deep_look_alone(
    cache: Path, etag: str, data: bytes
):
    blob(cache, etag).write_bytes(data)
    assert told(cache)["count"] == 0
    (one,) = told(cache, deep=True)["broken"]
    assert one["how"] == "has another content than was fetched"


def test_a_link_in_place_of_a_file_is_not_followed(cache: Path, tmp_path: Path):
    (tmp_path / "elsewhere").write_bytes(b"x" * 5000)
    blob(cache, SHA256).unlink()
    blob(cache, SHA256).symlink_to(tmp_path / "elsewhere")
    assert told(cache)["count"] == 1


def test_a_volume_that_is_not_there_is_an_error_and_no_verdict(tmp_path: Path):
    found = told(tmp_path / "no/volume/hub")
    assert "No such file" in found["error"]
    (finding,) = judge_volume(*volumes_in(LINE + json.dumps(found)), claim())
    assert finding.state is State.INCONCLUSIVE


def test_an_empty_volume_has_lost_all_its_files(tmp_path: Path):
    assert told(tmp_path / "hub")["count"] == 2


def test_reading_keeps_to_its_pace():
    slept: list[float] = []
    Pace(1000, slept.append).wait(2000)
    assert slept == [2.0]


def test_the_program_tells_of_each_volume_in_a_line(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    volume = {"model": "qwen", "commits": {COMMIT: BLOBS}}
    order = {"deep": True, "pace": 0, "volumes": [volume, {**volume, "model": "phi"}]}
    (tmp_path / "volumes.json").write_text(json.dumps(order))
    monkeypatch.setenv("WEIGHTS_VOLUMES", str(tmp_path / "volumes.json"))
    monkeypatch.setenv(CACHES, f"{cache}:{tmp_path / 'none/hub'}")
    monkeypatch.setattr("os.nice", lambda _: None)
    assert main() == 0
    found = volumes_in(capsys.readouterr().out)
    assert [(one.model, one.count, bool(one.error)) for one in found] == [
        ("qwen", 0, False),
        ("phi", 0, True),
    ]


def claim(size: str = "1Gi", model: str = "qwen") -> WeightsClaim:
    return WeightsClaim(model, size, {COMMIT: 5005}, {COMMIT: BLOBS})


@pytest.mark.parametrize(
    ("used", "total", "free", "kind"),
    [
        (500, 10_000, 20, None),  # a disk that others fill too
        (950, 10_000, 9_000, Kind.VOLUME_FILLING),
        (990, 10_000, 9_000, Kind.VOLUME_FULL),
        (500, 1_100, 10, Kind.VOLUME_FULL),  # a disk of its own, filled by something else
        (500, 1_100, 500, None),
        (0, 0, 0, None),
    ],
)
def test_a_volume_fills_up_by_its_own_disk_or_by_what_was_asked_for(
    used: int, total: int, free: int, kind: Kind | None
):
    found = judge_volume(Volume("qwen", used, total, free), claim("1000"))
    assert [one.kind for one in found] == ([kind] if kind else [])


def test_damaged_files_are_told_with_their_names():
    volume = Volume("qwen", 5, 10_000, 9_000, ("a is missing", "b has 1 byte"), 7)
    (found,) = judge_volume(volume, claim("1000"))
    assert found.kind is Kind.WEIGHTS
    assert found.text == "7 files on its volume not as fetched (a is missing; b has 1 byte)"


@pytest.mark.parametrize("line", ["volume ", "volume {}", "volume [1]", "noise", "volume {{"])
def test_a_line_that_is_none_tells_nothing(line: str):
    assert volumes_in(line) == []


def pod(model: str, node: str = "n1", commit: str = COMMIT) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"{model}-1",
            "labels": {"model": model},
            "annotations": {REVISION_ANNOTATION: commit},
        },
        "spec": {"nodeName": node} if node else {},
    }


def test_a_node_has_one_pod_for_all_its_volumes_and_no_volume_is_looked_at_twice():
    claims = {name: claim(model=name) for name in ("a", "b", "c", "unknown-commit")}
    pods = [pod("a"), pod("b"), pod("c", "n2"), pod("a", "n2"), pod("c", ""), pod("nobody")]
    found = batches(claims, [*pods, pod("unknown-commit", commit=OTHER)], "w")
    assert [(one.node, sorted(one.commits)) for one in found] == [("n1", ["a", "b"]), ("n2", ["c"])]


def test_a_node_with_very_many_volumes_has_several_pods():
    claims = {f"m{n:03d}": claim(model=f"m{n:03d}") for n in range(120)}
    found = batches(claims, [pod(name) for name in claims], "w")
    assert [len(one.commits) for one in found] == [50, 50, 20]
    assert len({one.name for one in found}) == 3


def test_the_job_mounts_its_node_s_volumes_read_only_and_has_an_end():
    claims = {"a": claim(model="a"), "b": claim(model="b")}
    (batch,) = batches(claims, [pod("a"), pod("b")], "w")
    job = job_of(batch, Settings(model_image="engine", model_tag="1"), "w", 300)
    assert job["spec"]["activeDeadlineSeconds"] == 300
    assert job["spec"]["backoffLimit"] == 0
    spec = job["spec"]["template"]["spec"]
    assert (spec["nodeName"], spec["restartPolicy"]) == ("n1", "Never")
    (container,) = spec["containers"]
    assert container["image"] == "engine:1"
    assert all(mount["readOnly"] for mount in container["volumeMounts"])
    names = [one.get("persistentVolumeClaim", {}).get("claimName") for one in spec["volumes"]]
    assert names == ["weights-a", "weights-b", None]
    order = json.loads(program_of(batch, claims, "w", deep=True)["data"]["volumes.json"])
    assert order["deep"] is True
    assert [one["model"] for one in order["volumes"]] == ["a", "b"]


@pytest.mark.parametrize(
    ("state", "phase", "patient", "why"),
    [
        ({"running": {}}, "Running", False, ""),
        ({"waiting": {"reason": "ContainerCreating"}}, "Pending", True, ""),
        ({"waiting": {"reason": "ContainerCreating"}}, "Pending", False, "its pod does not start"),
        (
            {"waiting": {"reason": "ImagePullBackOff", "message": "no such"}},
            "Pending",
            True,
            "ImagePullBackOff: no such",
        ),
    ],
)
def test_a_pod_that_cannot_start_is_not_waited_for(
    state: dict[str, Any], phase: str, why: str, *, patient: bool
):
    status = {"phase": phase, "containerStatuses": [{"state": state}]}
    assert why_stuck([{"status": status}], patient=patient) == why


def test_a_job_without_a_pod_and_a_pod_that_its_node_refused_are_told():
    assert why_stuck([], patient=True) == ""
    assert why_stuck([], patient=False)
    refused = {"status": {"phase": "Failed", "message": "OutOfcpu"}}
    assert why_stuck([refused], patient=True) == "OutOfcpu"


class FakeCluster:
    """Jobs that are complete at the second look, and a log of each pod."""

    def __init__(self, error: Exception | None = None, *, silent: bool = False) -> None:
        self.error, self.silent = error, silent
        self.made: list[dict[str, Any]] = []
        self.deleted: list[tuple[str, str]] = []
        self.looks = 0

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        if self.error:
            raise self.error
        self.made.append(body)
        return {"metadata": {**body["metadata"], "uid": "u"}}

    def merge(self, kind: str, name: str, fields: dict[str, Any]) -> None:
        assert (kind, fields["metadata"]["ownerReferences"][0]["uid"]) == ("ConfigMap", "u")
        assert name in {one["metadata"]["name"] for one in self.made}

    def find(self, kind: str, selector: str) -> list[dict[str, Any]]:
        assert selector.startswith(f"{LABEL}=")
        if self.silent:
            raise ClusterUnavailableError("the API does not answer")
        self.looks += 1
        names = [one["metadata"]["name"] for one in self.made if one["kind"] == "Job"]
        if kind == "Pod":
            return [{"metadata": {"name": f"{n}-x", "labels": {"job-name": n}}} for n in names]
        done = [{"type": "Complete", "status": "True"}] if self.looks > 2 else []
        return [{"metadata": {"name": name}, "status": {"conditions": done}} for name in names]

    def log(self, pod: str, lines: int) -> str:
        assert pod.endswith("-x")
        assert lines >= 50
        told = {"model": "qwen", "error": "", "used": 1, "total": 9, "free": 8, "broken": []}
        return f"noise\n{LINE}{json.dumps({**told, 'count': 0})}"

    def delete(self, kind: str, name: str) -> bool:
        self.deleted.append((kind, name))
        return True


def look(cluster: FakeCluster, *models: str) -> Any:
    session: Any = SimpleNamespace(cluster=cluster, clock=VirtualClock(), settings=Settings())
    claims = {name: claim(model=name) for name in models}
    return inspect_volumes(session, claims, [pod(name) for name in models], deep=False)


def test_the_volumes_are_read_from_the_jobs_logs_and_nothing_is_left():
    cluster = FakeCluster()
    found = look(cluster, "qwen")
    assert (found.volumes["qwen"].used, found.failed) == (1, {})
    assert sorted(kind for kind, _ in cluster.deleted) == ["ConfigMap", "Job"]
    assert {one["metadata"]["name"] for one in cluster.made} == {
        name for _, name in cluster.deleted
    }


def test_a_volume_of_which_nothing_was_told_is_not_well():
    found = look(FakeCluster(), "qwen", "phi")
    assert found.failed == {"n1": "the Job told nothing of 1 of them"}
    assert found.shared.state is State.INCONCLUSIVE


@pytest.mark.parametrize(
    "cluster", [FakeCluster(NoRightError("no right to create Job")), FakeCluster(silent=True)]
)
def test_without_a_right_or_an_api_nothing_is_known_and_nobody_waits_for_ever(
    cluster: FakeCluster,
):
    found = look(cluster, "qwen")
    assert (dict(found.volumes), list(found.failed)) == ({}, ["n1"])


def test_where_no_engine_runs_no_job_is_made():
    cluster = FakeCluster()
    session: Any = SimpleNamespace(cluster=cluster, clock=VirtualClock(), settings=Settings())
    assert inspect_volumes(session, {}, [], deep=False).shared.state is State.GREEN
    assert cluster.made == []
