"""A way to a port of a pod from outside the cluster, through the API server.

Each connection to the local port becomes one port-forward of its own, so a broken one breaks
nothing else. The API server's HTTP proxy would do with less, but it eats the Authorization
header, and with it the API key. (The library's own PortForward loses what a slow reader has not
taken yet when the other side ends, and dies with a traceback when the API server does.)
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from kubernetes.client.exceptions import ApiException
from kubernetes.stream.ws_client import websocket_call
from websocket import ABNF, WebSocketConnectionClosedException, WebSocketException

from vllm_flows.cluster import Cluster
from vllm_flows.errors import ClusterError, ClusterUnavailableError, VllmFlowsError
from vllm_flows.model_problems import printable

_CHUNK_BYTES = 65536
_PATH = "/api/v1/namespaces/{namespace}/pods/{name}/portforward"
_DATA, _ERROR = 0, 1
_KEEPALIVE = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds, seconds, times: a connection to an API server that is gone ends after a minute."""
_REFUSED = {401, 403, 404}


class Tunnel(Protocol):
    """One connection to a port of a pod."""

    def fileno(self) -> int:
        """Return what can be polled; there may be something to read without it: see `pending`."""

    def pending(self) -> bool:
        """Say whether bytes have come that polling does not tell of."""

    def read(self) -> bytes | None:
        """Return what the pod sent, maybe nothing, None at the end. Raises ClusterError."""

    def write(self, data: bytes) -> None:
        """Send to the pod. Raises ClusterError."""

    def close(self) -> None:
        """End it at once."""


Connect = Callable[[socket.socket], "Tunnel | None"]
"""Find a way for a connection that somebody made; None when there is none."""
Ended = Callable[[socket.socket, "ClusterError | None"], None]
"""Told when a connection that had a way is over, and what broke it off, if something did."""


class PodTunnel:
    """A port-forward of the API server, as `v4.channel.k8s.io` frames it.

    A frame begins with its channel: 0 for data, 1 for what went wrong; the first of each channel
    only tells the port.
    """

    def __init__(self, websocket: Any) -> None:  # noqa: ANN401 -- ships no types
        self._websocket = websocket
        self._begun: set[int] = set()

    @classmethod
    def open(cls, cluster: Cluster, pod: str, port: int) -> PodTunnel:
        """Connect to the pod's port.

        Raises ClusterError when the API refuses, ClusterUnavailableError for all the rest.
        """
        # Without the library's class of all calls, which takes half a second to import.
        client = cluster.api.client
        method, url, headers, *_ = client.param_serialize(
            "GET",
            _PATH,
            path_params={"namespace": cluster.namespace, "name": pod},
            query_params=[("ports", str(port))],
            auth_settings=["BearerToken"],
        )
        try:
            opened = websocket_call(
                client.configuration, method, url, headers=headers, _preload_content=False
            )
        except ApiException as error:
            raise _refusal(pod, error) from error
        websocket = opened.sock
        _keep_alive(websocket.sock)
        return cls(websocket)

    def fileno(self) -> int:
        """Return the socket's number."""
        return int(self._websocket.sock.fileno())

    def pending(self) -> bool:
        """Say whether TLS has bytes that were taken from the socket already."""
        pending = getattr(self._websocket.sock, "pending", None)
        return bool(pending and pending())

    def read(self) -> bytes | None:
        """Return what the next frame brings; None at the end. Raises ClusterUnavailableError."""
        try:
            kind, frame = self._websocket.recv_data_frame(control_frame=True)
        except WebSocketConnectionClosedException:
            return None
        except (WebSocketException, OSError) as error:
            raise ClusterUnavailableError(
                "the connection broke off", why=str(error) or type(error).__name__
            ) from error
        if kind == ABNF.OPCODE_CLOSE:
            return None
        return self._taken(bytes(frame.data)) if kind == ABNF.OPCODE_BINARY else b""

    def _taken(self, frame: bytes) -> bytes:
        channel, data = frame[0] if frame else _DATA, frame[1:]
        if channel not in self._begun:
            self._begun.add(channel)
            return b""
        if channel == _ERROR and data:
            why = printable(data.decode("utf-8", "replace").strip(), 300)
            raise ClusterUnavailableError("the connection broke off", why=why)
        return data if channel == _DATA else b""

    def write(self, data: bytes) -> None:
        """Send to the pod. Raises ClusterUnavailableError."""
        try:
            self._websocket.send_binary(bytes([_DATA]) + data)
        except (WebSocketException, OSError) as error:
            raise ClusterUnavailableError("the connection broke off", why=str(error)) from error

    def close(self) -> None:
        """End it without a word: the API server takes that for the end."""
        with contextlib.suppress(WebSocketException, OSError):
            self._websocket.shutdown()


@contextmanager
def forwarded(cluster: Cluster, pick_pod: Callable[[], str], pod_port: int) -> Iterator[int]:
    """Listen on a free port of 127.0.0.1 while the block runs; yield the port.

    `pick_pod` names the pod for each new connection, so a replaced pod is found again. Where it
    cannot, or the pod cannot be reached, the connection is closed, as a dead server would.
    """

    def connect(_: socket.socket) -> Tunnel | None:
        try:
            return PodTunnel.open(cluster, pick_pod(), pod_port)
        except VllmFlowsError:
            return None

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        accepting(listener, connect, lambda *_: None),
    ):
        yield listener.getsockname()[1]


@contextmanager
def accepting(listener: socket.socket, connect: Connect, ended: Ended) -> Iterator[None]:
    """Serve the connections to a listener while the block runs, each by a thread of its own."""

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_serve, args=(client, connect, ended), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # close() alone does not wake accept()
        listener.close()


def _serve(client: socket.socket, connect: Connect, ended: Ended) -> None:
    with client:
        # Tokens are small: each goes on at once, not when the one before it was acknowledged.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tunnel = connect(client)
        if tunnel is None:
            return
        broken = None
        try:
            carry(client, tunnel)
        except ClusterError as error:
            broken = error
            cut(client)
        finally:
            tunnel.close()
            ended(client, broken)


def cut(client: socket.socket) -> None:
    """Have the connection end as broken: who reads it is not to take it for a good end."""
    with contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def carry(client: socket.socket, tunnel: Tunnel) -> None:
    """Carry bytes both ways until one side ends. Raises ClusterError when the way breaks off.

    While the client does not take what came, no more is read for it.
    """
    waiting = b""
    client.setblocking(False)
    while True:
        from_client, to_client, from_pod = _ready(client, tunnel, waiting=bool(waiting))
        if from_client:
            data = _received(client)
            if not data:
                return
            tunnel.write(data)
        if from_pod:
            found = tunnel.read()
            if found is None:
                return
            waiting = found
        if waiting and (to_client or from_pod):
            sent = _sent(client, waiting)
            if sent is None:
                return
            waiting = waiting[sent:]


def _ready(client: socket.socket, tunnel: Tunnel, *, waiting: bool) -> tuple[bool, bool, bool]:
    """Wait, and say: the client sent something, takes something, the pod sent something."""
    poll = select.poll()
    poll.register(client, select.POLLIN | (select.POLLOUT if waiting else 0))
    pending = not waiting and tunnel.pending()
    if not waiting:
        poll.register(tunnel, select.POLLIN)
    found = dict(poll.poll(0 if pending else None))
    seen = found.get(client.fileno(), 0)
    return (
        bool(seen & ~select.POLLOUT),
        bool(seen & select.POLLOUT),
        (pending or tunnel.fileno() in found),
    )


def _received(client: socket.socket) -> bytes:
    """Return what the client sent; nothing when it is gone."""
    try:
        return client.recv(_CHUNK_BYTES)
    except OSError:
        return b""


def _sent(client: socket.socket, data: bytes) -> int | None:
    """Send what the client takes now and return how much; None when it is gone."""
    try:
        return client.send(data)
    except BlockingIOError:
        return 0
    except OSError:
        return None


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # macOS knows the first by another name
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _refusal(pod: str, error: ApiException) -> ClusterError:
    """Return the error for a port-forward that did not come about."""
    status = getattr(error.__context__, "status_code", None)
    what = f"no connection to pod {pod}"
    if status in _REFUSED:
        return ClusterError(
            what,
            why=f"the Kubernetes API answered {status}",
            next_command="kubectl auth can-i create pods/portforward",
        )
    why = printable(str(error.reason).partition(" -+-+- ")[0], 200)
    return ClusterUnavailableError(what, why=why, next_command="kubectl cluster-info")
