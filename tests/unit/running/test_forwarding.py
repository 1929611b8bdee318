from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import VirtualClock
from vllm_flows.errors import ClusterError, ClusterUnavailableError, NoRightError
from vllm_flows.forwarding import Pods, Way, pods_of
from vllm_flows.portforward import PodTunnel, accepting, carry
from vllm_flows.session import Session
from vllm_flows.waiting import StoppableClock

_CLOSED = 8


class Echo:
    """A tunnel to a pod that says what it hears."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.broken: ClusterError | None = None
        threading.Thread(target=self._echo, daemon=True).start()

    def _echo(self) -> None:
        with suppress(OSError):
            while data := self.far.recv(65536):
                self.far.sendall(data)

    def fileno(self) -> int:
        return self.near.fileno()

    def pending(self) -> bool:
        return False

    def read(self) -> bytes | None:
        data = self.near.recv(65536)
        if not data and self.broken:
            raise self.broken
        return data or None

    def write(self, data: bytes) -> None:
        self.near.sendall(data)

    def close(self) -> None:
        self.near.close()
        self.far.close()


@dataclass
class Stage:
    """Pods as they come and go, and a way to them that is looked at when the test says so."""

    pods: list[Pods | ClusterError]
    said: list[str] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    tunnels: list[Echo] = field(default_factory=list)
    refuse: int = 0

    def __post_init__(self) -> None:
        self.way = Way(self._look, self._open, self.said.append, VirtualClock(), patience=3)

    def _look(self) -> Pods:
        found = self.pods.pop(0) if len(self.pods) > 1 else self.pods[0]
        if isinstance(found, ClusterError):
            raise found
        return found

    def _open(self, pod: str) -> Echo:
        self.opened.append(pod)
        if len(self.opened) <= self.refuse:
            raise ClusterUnavailableError(f"no connection to pod {pod}", why="refused")
        self.tunnels.append(Echo())
        return self.tunnels[-1]

    @contextmanager
    def listening(self) -> Iterator[int]:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            accepting(listener, self.way.connect, self.way.ended),
        ):
            yield listener.getsockname()[1]


def pods(*names: str, there: tuple[str, ...] = ()) -> Pods:
    return Pods(frozenset((name, "run") for name in (*names, *there)), names)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def said_back(client: socket.socket, text: bytes) -> bytes:
    client.sendall(text)
    heard = b""
    while len(heard) < len(text):
        heard += client.recv(65536)
    return heard


def test_several_connections_at_once_each_have_a_way_of_their_own():
    stage = Stage([pods("a")])
    stage.way.look()
    with stage.listening() as port, connected(port) as one, connected(port) as other:
        assert said_back(other, b"other") == b"other"
        assert said_back(one, b"one") == b"one"
    assert stage.opened == ["a", "a"]
    assert stage.said == ["forwarding to pod a"]


def test_what_is_large_comes_whole_both_ways():
    stage = Stage([pods("a")])
    stage.way.look()
    text = b"x" * 2_000_000
    with stage.listening() as port, connected(port) as client:
        sender = threading.Thread(target=client.sendall, args=(text,))
        sender.start()
        heard = 0
        while heard < len(text):
            heard += len(client.recv(65536))
        sender.join()


def test_connections_to_a_pod_that_is_gone_are_cut_and_the_next_go_to_another():
    stage = Stage([pods("a"), pods("b")])
    stage.way.look()
    with stage.listening() as port:
        with connected(port) as client:
            assert said_back(client, b"hello") == b"hello"
            stage.way.look()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with connected(port) as client:
            assert said_back(client, b"again") == b"again"
    assert stage.opened == ["a", "b"]
    assert stage.said[1:3] == [
        "connections cut off with their pod: 1",
        "pod a is no longer ready; forwarding to pod b",
    ]


def test_a_pod_that_ends_in_good_order_keeps_the_connections_it_has():
    stage = Stage([pods("a"), pods("b", there=("a",))])
    stage.way.look()
    with stage.listening() as port, connected(port) as client:
        assert said_back(client, b"hello") == b"hello"
        stage.way.look()
        assert said_back(client, b"still") == b"still"


def test_a_new_connection_waits_for_the_next_pod():
    stage = Stage([pods(), pods(), pods("b")])
    stage.way.look()
    with stage.listening() as port, connected(port) as client:
        assert said_back(client, b"hello") == b"hello"
    assert stage.said == ["no other is: connections wait for one", "forwarding to pod b"]


def test_a_connection_that_finds_no_pod_in_time_is_closed():
    stage = Stage([pods()])
    stage.way.look()
    with stage.listening() as port, connected(port) as client:
        assert client.recv(1) == b""


def test_a_pod_that_cannot_be_reached_is_tried_again_and_said_once():
    stage = Stage([pods("a")], refuse=2)
    stage.way.look()
    with stage.listening() as port, connected(port) as client:
        assert said_back(client, b"hello") == b"hello"
    assert stage.said == [
        "forwarding to pod a",
        "no connection to pod a (refused); trying again",
    ]


def test_an_api_that_is_away_is_said_once_and_so_is_that_it_is_back():
    away = ClusterUnavailableError("cannot list pods", why="refused")
    stage = Stage([pods("a"), away, away, pods("a")])
    for _ in range(4):
        stage.way.look()
    assert stage.said == [
        "forwarding to pod a",
        "cannot list pods (refused); trying again",
        "forwarding to pod a again",
    ]


def test_a_right_that_is_missing_ends_it():
    with pytest.raises(NoRightError):
        Stage([NoRightError("no right to list pods")]).way.look()


def test_a_way_that_breaks_off_ends_the_connection_as_broken_and_is_said():
    stage = Stage([pods("a")])
    stage.way.look()
    with stage.listening() as port, connected(port) as client:
        assert said_back(client, b"hello") == b"hello"
        stage.tunnels[0].broken = ClusterUnavailableError("broke off", why="reset by peer")
        stage.tunnels[0].far.shutdown(socket.SHUT_RDWR)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert "a connection to pod a broke off: reset by peer" in stage.said


def test_a_container_that_started_anew_is_another_pod():
    def pod(restarts: int) -> dict[str, Any]:
        return {
            "metadata": {"name": "a", "uid": "1"},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"restartCount": restarts}],
            },
        }

    before, after = pods_of([pod(0)]), pods_of([pod(1)])
    assert before.ready == after.ready == ("a",)
    assert before.there != after.there


class Frames:
    """A websocket that brings these frames."""

    def __init__(self, *frames: tuple[int, bytes]) -> None:
        self._frames = list(frames)
        self.sock = None

    def recv_data_frame(self, *, control_frame: bool) -> tuple[int, Any]:
        assert control_frame
        kind, data = self._frames.pop(0)
        return kind, type("Frame", (), {"data": data})


def test_the_frames_of_a_port_forward_are_read():
    begin = [(2, b"\x00@\x1f"), (2, b"\x01@\x1f")]
    tunnel = PodTunnel(Frames(*begin, (2, b"\x00text"), (9, b""), (_CLOSED, b"")))
    assert [tunnel.read() for _ in range(5)] == [b"", b"", b"text", b"", None]


def test_what_the_node_reports_breaks_the_way_off():
    tunnel = PodTunnel(Frames((2, b"\x01@\x1f"), (2, b"\x01connection \x1brefused\n")))
    assert tunnel.read() == b""
    with pytest.raises(ClusterUnavailableError) as caught:
        tunnel.read()
    assert caught.value.why == "connection ?refused"


def test_bytes_that_polling_does_not_tell_of_are_read():
    class Buffered(Echo):
        """All that comes was taken from the socket already."""

        def __init__(self) -> None:
            super().__init__()
            self.left: list[bytes | None] = [b"one", b"two", None]

        def pending(self) -> bool:
            return bool(self.left)

        def read(self) -> bytes | None:
            return self.left.pop(0)

    ours, theirs = socket.socketpair()
    with ours, theirs:
        carry(ours, Buffered())
        assert theirs.recv(100) == b"onetwo"


@dataclass
class Away:
    """A Kubernetes API that does not answer; who is patient tells so, and waits."""

    patience: object = "long"
    inside: bool = False

    def get(self, *_: str) -> None:
        assert self.patience is None
        raise ClusterUnavailableError("cannot read Service: the Kubernetes API does not answer")


def test_a_connection_does_not_wait_for_an_api_that_is_away(monkeypatch: pytest.MonkeyPatch):
    heard: list[str] = []

    @contextmanager
    def forwarded(_: object, pick_pod: Any, __: int) -> Iterator[int]:
        with pytest.raises(ClusterUnavailableError) as caught:
            pick_pod()
        heard.append(caught.value.what)
        yield 1

    monkeypatch.setattr("vllm_flows.session.forwarded", forwarded)
    settings: Any = SimpleNamespace(router_url="", router_enabled=True, api_key=None)
    cluster, helm = Away(), None
    session = Session(settings, cluster, helm, StoppableClock(), keyless=True)  # type: ignore[arg-type]  # stand-ins
    with session.models_api():
        assert heard == ["cannot read Service: the Kubernetes API does not answer"]
