"""Verbs that maintain, as far as they go without a cluster."""

from __future__ import annotations

import sys

import pytest

from cli import main as entry
from cli import sandboxing
from cli.main import cli
from vllm_flows.errors import ConfigurationError


def test_the_sandbox_gets_every_word_that_is_given(monkeypatch: pytest.MonkeyPatch):
    became: list[list[str]] = []
    monkeypatch.setattr(sandboxing.os, "execv", lambda _, words: became.append(words))
    for words in (["up", "--name", "x", "--cpu-node"], ["status", "-o", "json"], ["env", "--help"]):
        cli(["sandbox", *words], standalone_mode=False)
        assert became.pop() == [sys.executable, "-P", "-m", "sandbox", *words]


def test_a_sandbox_that_is_not_installed_is_told_how_to_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sandboxing, "find_spec", lambda name: None if name == "uvicorn" else name)
    with pytest.raises(ConfigurationError) as refused:
        cli(["sandbox", "up"], standalone_mode=False)
    assert refused.value.why == "it needs uvicorn"
    assert "vllm-flows[sandbox]" in refused.value.next_command


def test_without_a_terminal_a_rollback_names_the_flag_and_asks_no_cluster(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    monkeypatch.setattr(sys, "argv", ["vllm-flows", "rollback"])
    with pytest.raises(ConfigurationError) as refused:
        cli(["rollback"], standalone_mode=False)
    assert refused.value.next_command == "vllm-flows rollback --yes"


def test_flows_are_not_registered_where_no_server_is_configured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("PREFECT_HOME", "/nowhere")
    monkeypatch.setattr(sys, "argv", ["vllm-flows", "deploy-flows", "--yes"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 64
    assert "export PREFECT_API_URL=" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["rollback", "--to", "0"],
        ["prune", "--keep", "0"],
        ["device-plugin", "install", "--timeout", "soon"],
        ["device-plugin", "remove"],
        ["sandbox", "fly"],
    ],
)
def test_wrong_usage_is_refused(monkeypatch: pytest.MonkeyPatch, words: list[str]):
    monkeypatch.setattr(sys, "argv", ["vllm-flows", *words])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 64
