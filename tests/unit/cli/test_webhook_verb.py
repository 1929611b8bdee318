"""What `vllm-flows webhook` needs before it listens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import cli
from vllm_flows.errors import ConfigurationError

SECRET = "planted-canary-secret-of-webhooks"


@pytest.fixture(autouse=True)
def _models(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text("- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n")


def refused(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["webhook", *arguments])
    assert isinstance(done.exception, ConfigurationError), done.output
    assert "canary" not in str(done.exception)
    return str(done.exception)


def test_without_a_secret_it_says_how_to_make_one():
    assert "openssl rand -hex 32" in refused()


@pytest.mark.parametrize("secret", ["canary", "canary" * 10 + "\n" + "x", "canaré" * 10, "  "])
def test_a_secret_that_does_not_do_is_refused(monkeypatch: pytest.MonkeyPatch, secret: str):
    monkeypatch.setenv("VLLM_WEBHOOK_SECRET", secret)
    refused()


def test_a_secret_file_that_is_not_there_is_named(tmp_path: Path):
    assert "secret.txt cannot be read" in refused("--secret-file", str(tmp_path / "secret.txt"))


def test_a_wrong_models_file_is_said_before_anything_listens(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("VLLM_WEBHOOK_SECRET", SECRET)
    (tmp_path / "models.yaml").write_text("- name: qwen3\n")
    assert "models.yaml" in refused()


def test_without_a_prefect_server_there_is_nobody_to_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("cli.prefect_server.answers", lambda _: False)
    monkeypatch.setattr("cli.prefect_server.prefect_is_configured", lambda: False)
    (tmp_path / "secret.txt").write_text(f"{SECRET}\n")
    assert "no Prefect server" in refused("--secret-file", str(tmp_path / "secret.txt"))


def test_a_port_that_is_taken_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        assert f"cannot listen on 127.0.0.1 port {number}" in refused("--port", number)
