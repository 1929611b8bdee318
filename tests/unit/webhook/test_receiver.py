"""The receiver, listening on 127.0.0.1: what it takes, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx
import pytest
from starlette.requests import Request

from deployments.webhook import _CONNECTIONS, Looks, Receiver, _body, server_of
from vllm_flows.errors import ModelsFileError
from vllm_flows.models import Model
from vllm_flows.webhook_rules import LARGEST_BODY

SECRET = "planted-canary-secret-of-webhooks"
HALF_A_BODY = (
    b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"X-Webhook-Secret: " + SECRET.encode() + b"\r\nContent-Length: 100\r\n\r\n{"
)
_PATIENCE = 10.0
_HURRIED_SECONDS = 0.3


@dataclass
class Listening:
    """A receiver that listens; `looked` are the repositories that it looked at."""

    url: str
    looked: list[str] = field(default_factory=list)
    told: bool = True
    models: list[Model] = field(
        default_factory=lambda: [Model(name="m1", modelURL="a/b"), Model(name="m2", modelURL="c/d")]
    )
    broken: bool = False
    held: threading.Event = field(default_factory=threading.Event)
    looks: Looks = field(init=False)

    def look(self, repository: str) -> bool:
        self.looked.append(repository)
        self.held.wait(_PATIENCE)
        return self.told

    def read(self) -> list[Model]:
        if self.broken:
            raise ModelsFileError("models.yaml has 1 problem")
        return self.models

    def post(self, name: str = "a/b", secret: str = SECRET, **more: object) -> httpx.Response:
        document = {
            "event": {"action": "update", "scope": "repo.content"},
            "repo": {"type": "model", "name": name},
            **more,
        }
        headers = {"X-Webhook-Secret": secret, "Content-Type": "application/json"}
        return httpx.post(f"{self.url}/webhook", content=json.dumps(document), headers=headers)

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + _PATIENCE
        while not condition():
            assert time.monotonic() < end, self.looked
            time.sleep(0.01)

    def connected(self) -> socket.socket:
        host, _, port = self.url.removeprefix("http://").partition(":")
        return socket.create_connection((host, int(port)), timeout=_PATIENCE)


@contextmanager
def listening(seconds: float) -> Iterator[Listening]:
    listener = socket.create_server(("127.0.0.1", 0))
    made = Listening(f"http://127.0.0.1:{listener.getsockname()[1]}")
    made.held.set()
    made.looks = Looks(made.look)
    server = server_of(Receiver(SECRET, made.read, made.looks), seconds)
    made.looks.start()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield made
    server.should_exit = True
    thread.join()
    made.held.set()
    made.looks.end()
    listener.close()


@pytest.fixture
def receiver() -> Iterator[Listening]:
    with listening(_PATIENCE) as made:
        yield made


@pytest.fixture
def hurried() -> Iterator[Listening]:
    with listening(_HURRIED_SECONDS) as made:
        yield made


def test_a_webhook_is_answered_at_once_and_leads_to_a_look(receiver: Listening):
    receiver.held.clear()
    answer = receiver.post()
    assert answer.status_code == 202
    assert answer.headers["Connection"] == "close"
    receiver.until(lambda: receiver.looked == ["a/b"])


def test_a_forged_webhook_does_nothing(receiver: Listening):
    answer = receiver.post(secret="guessed")
    assert answer.status_code == 403
    assert "canary" not in answer.text
    assert receiver.looked == []


def test_a_replayed_webhook_does_nothing(receiver: Listening):
    assert receiver.post().status_code == 202
    receiver.until(lambda: receiver.post().status_code == 200)
    looked = len(receiver.looked)
    assert "seen before" in receiver.post().text
    assert len(receiver.looked) == looked


def test_a_webhook_that_the_hub_did_not_answer_for_may_come_again(receiver: Listening):
    receiver.told = False
    receiver.post()
    receiver.until(lambda: len(receiver.looked) == 1)
    assert receiver.post().status_code == 202
    receiver.until(lambda: len(receiver.looked) == 2)


def test_what_comes_while_it_looks_is_one_more_look(receiver: Listening):
    receiver.held.clear()
    receiver.post(number=0)
    receiver.until(lambda: receiver.looked == ["a/b"])
    for number in range(1, 20):
        assert receiver.post(number=number).status_code == 202
    receiver.post("c/d")
    receiver.held.set()
    receiver.until(lambda: len(receiver.looked) == 3)
    assert receiver.looked == ["a/b", "a/b", "c/d"]


def test_an_unknown_repository_does_nothing_until_models_yaml_lists_it(receiver: Listening):
    assert receiver.post("e/f").status_code == 200
    assert receiver.looked == []
    receiver.models.append(Model(name="m3", modelURL="e/f"))
    assert receiver.post("e/f").status_code == 202
    receiver.until(lambda: receiver.looked == ["e/f"])


def test_a_models_file_that_cannot_be_used_is_said(receiver: Listening):
    receiver.broken = True
    answer = receiver.post()
    assert (answer.status_code, receiver.looked) == (503, [])
    assert "models.yaml has 1 problem" in answer.text


def headers(**more: str) -> dict[str, str]:
    return {"X-Webhook-Secret": SECRET, "Content-Type": "application/json", **more}


def test_an_oversized_body_is_not_read_to_its_end(receiver: Listening):
    sent = []

    def endless() -> Iterator[bytes]:
        while len(sent) < 100_000:
            sent.append(1)
            yield b" " * 1024

    url = f"{receiver.url}/webhook"
    known = httpx.post(url, content=b" " * (LARGEST_BODY + 1), headers=headers())
    assert known.status_code == 413
    with suppress(httpx.TransportError):  # closed while it was still being sent to
        assert httpx.post(url, content=endless(), headers=headers()).status_code == 413
    assert len(sent) < 100_000
    assert receiver.looked == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("POST", "/health", 405),
        ("GET", "/webhook", 405),
        ("PUT", "/webhook", 405),
        ("DELETE", "/webhook", 405),
        ("POST", "/", 404),
        ("GET", "/docs", 404),
    ],
)
def test_nothing_else_is_offered(receiver: Listening, method: str, path: str, status: int):
    answer = httpx.request(method, f"{receiver.url}{path}", headers=headers())
    assert answer.status_code == status
    assert "server" not in answer.headers


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /webhook HTTP/1.1\r\nHost: x\r\n",
        HALF_A_BODY,
    ],
    ids=["silence", "half a head", "half a body"],
)
def test_who_dawdles_is_cut_off(hurried: Listening, begun: bytes):
    with hurried.connected() as connection:
        connection.sendall(begun)
        with suppress(ConnectionResetError):
            assert connection.recv(1024) == b""
    assert hurried.looked == []


def connections(receiver: Listening, count: int, begun: bytes = b"") -> list[socket.socket]:
    found = []
    for _ in range(count):
        found.append(receiver.connected())
        found[-1].sendall(begun)
    return found


def ended(connection: socket.socket) -> bool:
    with suppress(ConnectionResetError):
        return connection.recv(1024) == b""
    return True


@pytest.mark.parametrize(
    "begun", [b"", b"POST /webhook HTTP/1.1\r\n"], ids=["silence", "half a head"]
)
def test_who_asks_is_answered_however_many_are_connected_and_ask_nothing(
    receiver: Listening, begun: bytes
):
    idle = connections(receiver, _CONNECTIONS + 5, begun)
    assert httpx.get(f"{receiver.url}/health").status_code == 200
    assert receiver.post().status_code == 202
    assert all(ended(one) for one in idle[:5]), "no more than so many are kept"
    for one in idle:
        one.close()


def test_who_asks_nothing_gives_way_before_who_asks(receiver: Listening):
    (asking,) = connections(receiver, 1, HALF_A_BODY)
    assert httpx.get(f"{receiver.url}/health").status_code == 200  # so it was read
    idle = connections(receiver, _CONNECTIONS)
    assert ended(idle[0])
    asking.sendall(b" " * 99)
    assert b"HTTP/1.1 4" in asking.recv(1024)
    for one in [asking, *idle]:
        one.close()


def test_a_body_in_pieces_is_read_to_its_bound_and_no_further():
    sent = []

    async def receive() -> dict[str, object]:
        sent.append(1)
        return {"type": "http.request", "body": b" " * 1024, "more_body": True}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    assert asyncio.run(_body(request)) is None
    assert len(sent) == LARGEST_BODY // 1024 + 1


def test_a_head_without_end_is_refused(receiver: Listening):
    with receiver.connected() as connection:
        connection.sendall(b"POST /webhook HTTP/1.1\r\nX: " + b"x" * 100_000)
        assert b"400" in connection.recv(1024)
