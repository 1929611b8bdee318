from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from cli.secret_input import Given, given_value
from vllm_flows.credentials import HF_TOKEN
from vllm_flows.errors import ConfigurationError


class NoTerminal:
    """Standard input as a pipe."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)

    def isatty(self) -> bool:
        return False


def given(
    *, variable: str = "", from_stdin: bool = False, file: Path | None = None
) -> Given | None:
    in_environment = SecretStr(variable) if variable else None
    return given_value(HF_TOKEN, in_environment, from_stdin=from_stdin, file=file)


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", NoTerminal(data))


def test_a_file_and_standard_input_win_over_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    file = tmp_path / "token"
    file.write_text("hf_file\r\n")
    piped(monkeypatch, b"hf_stdin\n")
    assert given(variable="hf_variable", file=file) == (SecretStr("hf_file"), str(file))
    assert given(variable="hf_variable", from_stdin=True) == (
        SecretStr("hf_stdin"),
        "standard input",
    )
    assert given(variable="hf_variable") == (SecretStr("hf_variable"), "VLLM_HF_TOKEN")


@pytest.mark.parametrize("stdin", [None, NoTerminal(b"hf_canary")])
def test_standard_input_is_not_read_unasked(monkeypatch: pytest.MonkeyPatch, stdin: object):
    monkeypatch.setattr(sys, "stdin", stdin)
    assert given() is None


@pytest.mark.parametrize(
    "data",
    [b"", b" \n", b"hf canary", b"hf_canary\nmore", b"\xff\xfecanary", b"canary\0", b"c" * 20_000],
)
def test_what_is_no_value_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: bytes
):
    file = tmp_path / "token"
    file.write_bytes(data)
    piped(monkeypatch, data)
    for source in ({"file": file}, {"from_stdin": True}):
        with pytest.raises(ConfigurationError, match="holds no usable value") as caught:
            given(**source)
        assert "canary" not in str(caught.value)
        assert "ccc" not in str(caught.value)
        assert "vllm-flows set-hf-token" in caught.value.next_command


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    for file in (tmp_path, tmp_path / "none", tmp_path / "pipe"):
        with pytest.raises(ConfigurationError, match=f"{file} cannot be read"):
            given(file=file)


def test_a_closed_standard_input_holds_no_value(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ConfigurationError, match="standard input holds no usable value"):
        given(from_stdin=True)


def test_what_is_typed_is_not_echoed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cli.secret_input.has_terminal", lambda: True)
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: "hf_hidden")
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda _: "hf_shown")
    assert given() == (SecretStr("hf_hidden"), "your input")
