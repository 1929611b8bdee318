from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cli.main import cli
from vllm_flows import exec_plugin, kubectl, status_reading
from vllm_flows.errors import ClusterError
from vllm_flows.settings import Settings
from vllm_flows.status import Health, Status


def fake_kubectl(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Put a program of that name on PATH: what stands for the cluster is at its very edge."""
    program = folder / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_objects_are_read_in_one_call_of_kubectl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    answer = '{"items": [{"kind": "Pod"}]}'
    script = f"echo \"$@\" > {tmp_path}/said; echo '{answer}'"
    fake_kubectl(monkeypatch, tmp_path, script)
    assert kubectl.read_objects(["pods", "services"], "ns", "mine") == [{"kind": "Pod"}]
    said = (tmp_path / "said").read_text()
    assert said.startswith("get pods,services --namespace ns --output json")
    assert said.endswith("--context mine\n")


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo '{}'", "exec /no/program"])
def test_a_kubectl_that_fails_leaves_the_question_to_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
):
    fake_kubectl(monkeypatch, tmp_path, script)
    assert kubectl.read_objects(["pods"], "ns") is None


ASKS = "read -r it && echo '{\"items\": []}' && exit 0"
HANGS = f"{ASKS}; echo 'opening a browser' >&2; sleep 777 & wait"


def log_in_by(monkeypatch: pytest.MonkeyPatch, folder: Path, user: dict[str, Any]) -> None:
    """Write a kubeconfig, and let nobody wait long."""
    document = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "one", "user": "me"}}],
        "clusters": [{"name": "one", "cluster": {"server": "https://10.0.0.1"}}],
        "users": [{"name": "me", "user": user}],
    }
    (folder / "kubeconfig").write_text(json.dumps(document))
    monkeypatch.setenv("KUBECONFIG", str(folder / "kubeconfig"))
    monkeypatch.setattr(exec_plugin, "SOON_SECONDS", 0.1)
    monkeypatch.setattr(exec_plugin, "SECONDS", 0.4)


@pytest.mark.usefixtures("somebody_types")
def test_a_kubectl_that_hangs_is_ended_with_all_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    log_in_by(monkeypatch, tmp_path, {"token": "x"})
    fake_kubectl(monkeypatch, tmp_path, HANGS)
    # It would hold the pipe of a kubectl open that is killed alone.
    assert kubectl.read_objects(["pods"], "ns", seconds=0.3) is None
    assert caplog.messages == []


def test_a_login_program_that_hangs_is_named_soon_and_not_waited_for_a_second_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    log_in_by(monkeypatch, tmp_path, {"exec": {"command": "/opt/aws", "apiVersion": "v1"}})
    fake_kubectl(monkeypatch, tmp_path, HANGS)
    soon = partial(kubectl.read_objects, seconds=0.2)
    monkeypatch.setattr(status_reading, "read_objects", soon)
    settings = Settings(namespace="ns")
    with pytest.raises(ClusterError, match=r"aws did not end within 0\.4 s") as caught:
        status_reading.read_status(settings, {})
    assert caught.value.why == "opening a browser"
    (told,) = caplog.messages
    assert told.startswith("still waiting for an answer of the API, or for the login program aws ")
    assert told.endswith("(up to 0.4 s)")


class Recorded(subprocess.Popen[bytes]):
    """A process that remembers how long it was waited for."""

    waits: ClassVar[list[float]] = []

    def wait(self, timeout: float | None = None) -> int:
        self.waits.append(timeout or 0.0)
        return super().wait(timeout)


def test_all_waits_for_a_login_program_together_are_as_long_as_was_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    log_in_by(monkeypatch, tmp_path, {"exec": {"command": "/opt/aws", "apiVersion": "v1"}})
    fake_kubectl(monkeypatch, tmp_path, HANGS)
    monkeypatch.setattr(Recorded, "waits", [])
    monkeypatch.setattr(subprocess, "Popen", Recorded)
    with pytest.raises(ClusterError):
        kubectl.read_objects(["pods"], "ns", seconds=0.3)
    assert Recorded.waits[:3] == pytest.approx([0.1, 0.2, 0.1])
    assert sum(Recorded.waits[:3]) == pytest.approx(exec_plugin.SECONDS)


def test_kubectl_gets_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("VLLM_HF_TOKEN", "VLLM_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "planted-canary")
    monkeypatch.setenv("AWS_PROFILE", "team")
    fake_kubectl(monkeypatch, tmp_path, f"env > {tmp_path}/env; echo '{{\"items\": []}}'")
    assert kubectl.read_objects(["pods"], "ns") == []
    environ = (tmp_path / "env").read_text()
    assert "planted-canary" not in environ
    assert "AWS_PROFILE=team" in environ


def test_an_api_that_does_not_answer_is_not_taken_for_a_login_program_that_hangs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    log_in_by(monkeypatch, tmp_path, {"exec": {"command": "/opt/aws", "apiVersion": "v1"}})
    silent = "E1126 memcache.go:265] couldn't get current server API group list: timeout"
    fake_kubectl(monkeypatch, tmp_path, f'echo "{silent}" >&2; sleep 777 & wait')
    assert kubectl.read_objects(["pods"], "ns", seconds=0.2) is None


def test_without_kubectl_the_library_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kubectl.read_objects(["pods"], "ns") is None


def told(monkeypatch: pytest.MonkeyPatch, *found: Status) -> None:
    monkeypatch.setattr(status_reading, "read_status", lambda *_: list(found))


def test_status_exits_with_6_while_a_model_is_not_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    told(monkeypatch, Status("qwen", Health.DOWN, diagnosis="no free GPU", next_command="look"))
    with pytest.raises(SystemExit) as ended:
        cli(["status"], standalone_mode=False)
    assert ended.value.code == 6
    shown = capsys.readouterr()
    assert "no free GPU" in shown.out
    assert "qwen: next: look" in shown.err


def test_the_data_of_a_status_has_a_stable_shape(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    told(monkeypatch, Status("qwen", Health.READY, "a" * 40, 1, 1, 2, ("n",), 61.5, 3, "http://x"))
    cli(["status", "-o", "json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out) == [
        {
            "model": "qwen",
            "state": "ready",
            "revision": "a" * 40,
            "replicas": 1,
            "ready": 1,
            "gpus": 2,
            "nodes": ["n"],
            "ageSeconds": 62,
            "restarts": 3,
            "endpoint": "http://x",
            "diagnosis": "",
            "category": "",
            "next": "",
        }
    ]


def test_where_nothing_is_deployed_the_way_to_begin_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    told(monkeypatch)
    cli(["status"], standalone_mode=False)
    assert "next: vllm-flows install" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text", "why"),
    [
        (["--models", "typo.yaml"], "", "typo.yaml does not exist"),
        (["--models", "models.yaml"], "- name: [\n", "is not YAML"),
        ([], "- {name: a}\n- 3\n", "modelURL: is missing"),
    ],
)
def test_a_models_file_that_cannot_be_used_is_warned_of_and_not_healthy(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    text: str,
    why: str,
):
    told(monkeypatch, Status("a", Health.READY))
    Path("models.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        cli([*words, "status"], standalone_mode=False)
    assert ended.value.code == 6
    said = capsys.readouterr().err
    assert said.startswith("warning: ")
    assert why in said
    assert "should be a mapping" not in said, "the first problem is enough"
    assert f"\n  next: {' '.join(['vllm-flows', *words])} validate\n" in said


def test_a_missing_file_that_the_environment_names_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    told(monkeypatch)
    monkeypatch.setenv("VLLM_MODELS_FILE", "models.yaml")
    with pytest.raises(SystemExit):
        cli(["status"], standalone_mode=False)
    assert "warning: models.yaml does not exist" in capsys.readouterr().err


def test_where_nobody_named_a_models_file_none_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    told(monkeypatch, Status("a", Health.READY))
    cli(["status"], standalone_mode=False)
    assert "warning" not in capsys.readouterr().err


def test_the_names_of_a_right_file_are_what_is_expected_in_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
):
    asked: dict[str, int] = {}
    monkeypatch.setattr(status_reading, "read_status", lambda _, found: asked.update(found) or [])
    Path("models.yaml").write_text("- {name: a, modelURL: org/a, replicaCount: 0}\n")
    cli(["status"], standalone_mode=False)
    assert asked == {"a": 0}
