from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli import main as entry
from cli.verbs import VERBS
from vllm_flows import errors

MODELS = """\
- name: qwen3
  modelURL: Qwen/Qwen3-4B
  requestGPU: 2
  vllmConfig: {tensorParallelSize: 2}
"""


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line as the installed program does; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["vllm-flows", *arguments])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_help_lists_every_exit_code_that_an_error_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)}
    for code in codes:
        assert f"{code:5d}  " in shown


def test_every_verb_has_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    for verb in VERBS:
        assert run(monkeypatch, verb, "--help") == 0
        assert "Usage:" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["instal"], ["install", "--no-such"], ["plan", "-o", "xml"]])
def test_wrong_usage_ends_with_64(monkeypatch: pytest.MonkeyPatch, arguments: list[str]):
    assert run(monkeypatch, *arguments) == 64


@pytest.mark.parametrize("verb", ["install", "upgrade", "plan", "validate"])
def test_a_missing_models_file_is_said_with_how_to_make_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
):
    assert run(monkeypatch, verb) == 64
    assert "next: vllm-flows add-model\n" in capsys.readouterr().err


def test_validate_lists_the_models_as_data_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    Path("models.yaml").write_text(MODELS)
    assert run(monkeypatch, "validate", "-o", "json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "name": "qwen3",
        "modelURL": "Qwen/Qwen3-4B",
        "revision": "main",
        "replicas": 1,
        "GPUs": 2,
        "storage": "50Gi",
    }


@pytest.mark.parametrize("verb", ["install", "upgrade", "uninstall"])
def test_without_a_terminal_the_flag_is_named_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
):
    Path("models.yaml").write_text(MODELS)
    assert run(monkeypatch, verb) == 64
    assert f"next: vllm-flows {verb} --yes" in capsys.readouterr().err


def test_a_token_is_not_waited_for_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, "set-hf-token") == 64
    assert "vllm-flows set-hf-token --stdin" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["set-hf-token", "set-api-key"])
def test_a_secret_has_one_source(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
):
    assert run(monkeypatch, verb, "--stdin", "--file", "token") == 64
    assert "exclude each other" in capsys.readouterr().err


def test_a_kubeconfig_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    Path("models.yaml").write_text(MODELS)
    monkeypatch.setenv("KUBECONFIG", str(Path("none").absolute()))
    assert run(monkeypatch, "plan") == 64
    assert "no usable kubeconfig" in capsys.readouterr().err


def test_a_cluster_that_does_not_answer_is_said_with_its_address(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    Path("models.yaml").write_text(MODELS)
    Path("config").write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
        "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
        "users: [{name: u, user: {}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(Path("config").absolute()))
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda _seconds: None)
    assert run(monkeypatch, "plan") == 1
    said = capsys.readouterr().err
    assert "the Kubernetes API does not answer" in said
    assert "next: kubectl cluster-info" in said


@pytest.mark.parametrize("verb", ["plan", "install", "upgrade"])
def test_a_chart_version_that_the_folder_has_not_is_refused_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
):
    Path("models.yaml").write_text(MODELS)
    Path("chart").mkdir()
    Path("chart/Chart.yaml").write_text("name: vllm-stack\nversion: 0.1.12\n")
    assert run(monkeypatch, verb, "--chart", "./chart", "--chart-version", "0.1.9") == 64
    said = capsys.readouterr().err
    assert "chart version 0.1.9 was asked for, and the chart in ./chart is 0.1.12" in said


def program(*arguments: str, stdout: int, stderr: int) -> int:
    """Run the program as a process with these ends of pipes; return its exit code."""
    command = [sys.executable, "-c", "from cli.main import main; main()", *arguments]
    return subprocess.run(command, stdout=stdout, stderr=stderr, check=False).returncode


def test_a_reader_that_has_gone_away_ends_it_without_a_word():
    Path("models.yaml").write_text(MODELS)
    with closed_pipe() as gone, tempfile.TemporaryFile() as said:
        assert program("validate", stdout=gone, stderr=said.fileno()) == 1
        said.seek(0)
        assert said.read() == b""


def test_a_person_that_has_gone_away_stops_nothing():
    Path("models.yaml").write_text(MODELS)
    with closed_pipe() as gone:
        assert program("validate", "missing.yaml", stdout=gone, stderr=gone) == 64


def test_a_closed_stdout_or_stderr_is_no_trouble():
    Path("models.yaml").write_text(MODELS)
    words = "from cli.main import main; main()"
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        command = f"{shlex.quote(sys.executable)} -c '{words}' validate {closed}"
        assert subprocess.run(command, shell=True, check=False).returncode == 0  # noqa: S602 -- ours


@contextmanager
def closed_pipe() -> Iterator[int]:
    """Yield the writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.mark.parametrize("text", ["a: {b", None])
def test_a_kubeconfig_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str | None
):
    Path("models.yaml").write_text(MODELS)
    Path("config").write_text(text or "apiVersion: v1\nkind: Config\n")
    monkeypatch.setenv("KUBECONFIG", "config")
    assert run(monkeypatch, "--context", "none", "plan") == 64
    assert "why:  config: " in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["set-hf-token", "set-api-key"])
def test_a_secret_given_as_an_argument_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
):
    assert run(monkeypatch, verb, "hf_canary", "sk canary") == 64
    said = "".join(capsys.readouterr())
    assert "--stdin or --file" in said
    assert "canary" not in said
