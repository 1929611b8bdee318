from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import click
import pytest
from huggingface_hub import constants
from pydantic import SecretStr

from cli.secret_input import Given, given_value, offered_token
from vllm_flows.credentials import HF_TOKEN
from vllm_flows.errors import ConfigurationError
from vllm_flows.hub_login import token_left


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


class Terminal:
    """Standard input at which somebody sits."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def _left_by_hf_auth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the user have logged in to the Hub on this machine."""
    file = tmp_path / "left"
    file.write_text("hf_left\n")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(file))


@pytest.mark.usefixtures("_left_by_hf_auth")
@pytest.mark.parametrize(("answer", "taken"), [(True, True), (False, False)])
def test_the_token_of_hf_auth_is_offered_by_the_name_of_its_file_with_a_default_of_no(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, answer: bool, taken: bool
):
    asked: list[str] = []

    def confirm(question: str, *, default: bool, err: bool) -> bool:
        asked.append(question)
        assert (default, err) == (False, True)
        return answer

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(click, "confirm", confirm)
    found = offered_token()
    assert str(tmp_path / "left") in asked[0]
    assert "hf_left" not in asked[0]
    expected = Given(SecretStr("hf_left"), str(tmp_path / "left")) if taken else None
    assert found == expected


@pytest.mark.usefixtures("_left_by_hf_auth")
def test_a_token_in_the_environment_is_offered_by_its_variable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert token_left() == ("hf_other", "HF_TOKEN")


@pytest.mark.usefixtures("_left_by_hf_auth")
def test_without_a_terminal_nothing_is_offered(monkeypatch: pytest.MonkeyPatch):
    piped(monkeypatch, b"")
    monkeypatch.setattr(click, "confirm", lambda *_, **__: pytest.fail("it asked"))
    assert offered_token() is None


def test_where_nobody_logged_in_nothing_is_offered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert offered_token() is None
