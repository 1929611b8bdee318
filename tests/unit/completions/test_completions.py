from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from vllm_flows.completions import Answer, ModelsApi, NotYetError
from vllm_flows.errors import CompletionError

GOOD = {"model": "qwen", "choices": [{"text": " Paris"}]}


@contextmanager
def a_server(status: int, body: Any) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve one canned answer on 127.0.0.1; yield the address and what was asked."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            request = {"path": self.path, "key": self.headers.get("Authorization")}
            asked.append({**request, **json.loads(self.rfile.read(length))})
            text = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def ask(address: str, api_key: str | None = None) -> Answer:
    with ModelsApi.at(address, api_key) as api:
        return api.complete("qwen")


def test_a_completion_is_asked_for_by_name_with_the_key():
    with a_server(200, GOOD) as (address, asked):
        answer = ask(address, "secret")
    assert (answer.model, answer.text) == ("qwen", " Paris")
    assert asked[0]["path"] == "/v1/completions"
    assert asked[0]["model"] == "qwen"
    assert asked[0]["key"] == "Bearer secret"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "other", "choices": [{"text": "x"}]}, "'other' answered instead"),
        ({"model": "qwen", "choices": [{"text": "  "}]}, "no text"),
        ({"model": "qwen", "choices": []}, "no completion"),
        (b"<html>", "no completion"),
        ([], "no completion"),
    ],
)
def test_a_wrong_answer_is_no_proof(body: Any, said: str):
    with (
        a_server(200, body) as (address, _),
        pytest.raises(CompletionError, match=said) as caught,
    ):
        ask(address)
    assert not caught.value.retryable


@pytest.mark.parametrize("status", [404, 503, 500])
def test_a_router_that_does_not_know_the_model_yet_is_asked_again(status: int):
    with a_server(status, b"no") as (address, _), pytest.raises(NotYetError):
        ask(address)


def test_a_refused_key_is_said_with_the_command_that_sets_one():
    with a_server(401, b"no") as (address, _), pytest.raises(CompletionError) as caught:
        ask(address, "wrong")
    assert "set-api-key" in caught.value.next_command
    assert "wrong" not in str(caught.value)


def test_nobody_listening_is_worth_another_try():
    with pytest.raises(NotYetError):
        ask("http://127.0.0.1:1")
