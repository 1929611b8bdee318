"""What the program says holds neither the token nor the signature of an address."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from vllm_flows.weights_job import TEMPORARY, report
from vllm_flows.weights_redaction import RedactedStream, redacted

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Volume


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("GET https://cdn.test/f?odd=canary failed", "GET https://cdn.test/f failed"),
        ("'/f?X-Amz-Signature=canary&X-Amz-Date=1'", "'/f?X-Amz-Signature=***&X-Amz-Date=***'"),
        ("/f?a=1&Signature=canary~__", "/f?a=1&Signature=***"),
        ("Signature=canary and more", "Signature=*** and more"),
        ("?Policy=canary&Key-Pair-Id=canary", "?Policy=***&Key-Pair-Id=***"),
        ("?se=1&sig=canary%3D", "?se=1&sig=***"),
        ("?X-Goog-Credential=canary", "?X-Goog-Credential=***"),
        ("next=%2Ff%3FX-Amz-Signature%3Dcanary%26a", "next=%2Ff%3FX-Amz-Signature%3D***"),
        ("Authorization: Bearer canary", "Authorization: Bearer ***"),
        ("b'hf_token' is wrong", "b'***' is wrong"),
        ("config=1&files=2", "config=1&files=2"),
    ],
)
def test_tokens_and_signatures_are_taken_out(text: str, left: str):
    assert redacted(text, "hf_token") == left


def test_each_word_of_a_token_that_is_none_is_taken_out():
    assert redacted("one and two", "one\ntwo") == "*** and ***"


def test_without_a_token_the_text_stays():
    assert redacted("abc", "") == "abc"


def test_the_last_word_holds_no_query_of_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TERMINATION_LOG", str(tmp_path / "log"))
    report({"error": "HTTP 403 from https://cdn.test/f?odd=canary hf_token"}, "hf_token")
    said = (tmp_path / "log").read_text()
    assert json.loads(said) == {"error": "HTTP 403 from https://cdn.test/f ***"}
    assert capsys.readouterr().out == f"{said}\n"


def test_a_line_that_comes_in_pieces_is_redacted_as_one():
    target = io.StringIO()
    stream = RedactedStream(target, "hf_token")
    print("ValueError: b'Bearer hf_", end="", file=stream)
    assert target.getvalue() == ""
    print("token'\nnext", file=stream)
    assert target.getvalue() == "ValueError: b'Bearer ***'\nnext\n"
    print("and ?sig=canary", end="", file=stream, flush=True)
    assert target.getvalue().endswith("and ?sig=***")


@contextmanager
def a_hub_that_echoes() -> Iterator[str]:
    """Serve a status line that repeats the request's token, and a signature."""

    def answer(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # shut down
                return
            with connection:
                asked = connection.recv(65536).decode()
                token = asked.lower().partition("authorization: bearer ")[2].split()[0]
                connection.sendall(f"NONSENSE {token} ?Signature=canary&a=1\r\n\r\n".encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_server_that_echoes_the_token_puts_it_into_no_log(volume: Volume):
    order = volume.order("tagged")
    with a_hub_that_echoes() as volume.url:
        result = volume.run(replace(order, files=order.files[:1], at_once=1), "hf_secret")
    assert result.code == TEMPORARY
    assert result.errors.count("NONSENSE") == 7
    everything = "".join([result.errors, *result.lines, json.dumps(result.said)])
    assert "NONSENSE" in result.said["error"]
    assert "hf_secret" not in everything
    assert "canary" not in everything


def test_what_nobody_expected_is_redacted_too(volume: Volume):
    """The traceback of an error that the program does not know goes to the same log."""
    order = volume.order("tagged")
    volume.url = "hf_secret"  # no address at all
    result = volume.run(replace(order, at_once=1), "hf_secret")
    assert result.code != 0
    assert "ValueError: unknown url type: '***/" in result.errors
    assert "hf_secret" not in result.errors
