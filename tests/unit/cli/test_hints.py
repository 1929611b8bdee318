from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import hints
from cli import main as entry

MODELS = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    hints.remember(namespace=None, kube_context=None, models=None)


def said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> str:
    monkeypatch.setattr(sys, "argv", ["vllm-flows", *arguments])
    with pytest.raises(SystemExit):
        entry.main()
    return capsys.readouterr().err


PROMPTING = [
    ["-n", "other", "install", "--chart-version", "0.1.8", "--allow-downtime"],
    ["--namespace", "other", "upgrade"],
    ["-n", "other", "uninstall", "--delete-namespace"],
    ["--models", "my models.yaml", "remove-model", "qwen3"],
    ["-n", "other", "rollback", "--to", "3"],
]


@pytest.mark.parametrize("arguments", PROMPTING, ids=" ".join)
def test_without_a_terminal_the_command_is_told_as_it_was_typed_with_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
):
    for name in ("models.yaml", "my models.yaml"):
        Path(name).write_text(MODELS)
    monkeypatch.setenv("VLLM_CHART", str(Path(__file__).parents[3] / "sandbox" / "chart"))
    shown = said(monkeypatch, capsys, *arguments)
    hint = shown.partition("next: ")[2].strip()
    assert shlex.split(hint) == ["vllm-flows", *arguments, "--yes"]


def test_commands_that_are_recommended_keep_what_was_said_before_the_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    Path("mine.yaml").write_text(MODELS)
    monkeypatch.setenv("VLLM_CHART", str(Path(__file__).parents[3] / "sandbox" / "chart"))
    before = ("--models", "mine.yaml", "-n", "other")
    shown = said(monkeypatch, capsys, *before, "install", "--plan", "no.json")
    assert "next: vllm-flows --namespace other --models mine.yaml plan --out" in shown
    assert "then vllm-flows --namespace other --models mine.yaml install --plan" in shown


def test_kubectl_is_told_the_context_and_a_plain_command_stays_plain():
    text = "vllm-flows install; kubectl get nodes; vllm-flows has"
    assert hints.spelled(text) == text
    hints.remember(namespace=None, kube_context="big one", models=None)
    assert "kubectl --context 'big one' get nodes" in hints.spelled(text)
    assert "vllm-flows --context 'big one' install" in hints.spelled(text)
    assert hints.spelled("vllm-flows -n x install") == "vllm-flows -n x install"
