"""A way to a port of a pod from outside the cluster, through the API server.

Each connection to the local port becomes one port-forward of its own, so a broken one breaks
nothing else. The API server's HTTP proxy would do with less, but it eats the Authorization
header, and with it the API key.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from kubernetes import client as kubernetes_client
from kubernetes.client.exceptions import ApiException
from kubernetes.stream import portforward

from vllm_flows.cluster import Cluster
from vllm_flows.errors import VllmFlowsError

_CHUNK_BYTES = 65536


class _Socket(Protocol):
    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> None: ...
    def shutdown(self, how: int, /) -> None: ...


@contextmanager
def forwarded(cluster: Cluster, pick_pod: Callable[[], str], pod_port: int) -> Iterator[int]:
    """Listen on a free port of 127.0.0.1 while the block runs; yield the port.

    `pick_pod` names the pod for each new connection, so a replaced pod is found again.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(
        target=_accept, args=(listener, cluster, pick_pod, pod_port), daemon=True
    )
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # close() alone does not wake accept()
        listener.close()


def _accept(
    listener: socket.socket, cluster: Cluster, pick_pod: Callable[[], str], pod_port: int
) -> None:
    """Serve connections until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(
            target=_serve, args=(connection, cluster, pick_pod, pod_port), daemon=True
        ).start()


def _serve(
    connection: socket.socket, cluster: Cluster, pick_pod: Callable[[], str], pod_port: int
) -> None:
    """Carry one connection to the pod and back; a failure closes it, as a dead server would."""
    with connection:
        # Tokens are small: each goes on at once, not when the one before it was acknowledged.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            remote = _open(cluster, pick_pod(), pod_port)
        except (ApiException, VllmFlowsError, OSError):
            return
        upstream = threading.Thread(target=_pump, args=(connection, remote), daemon=True)
        upstream.start()
        _pump(remote, connection)
        with contextlib.suppress(OSError):
            remote.close()


def _open(cluster: Cluster, pod: str, pod_port: int) -> socket.socket:
    # The library replaces the client's transport while it connects: a client of its own.
    own = kubernetes_client.CoreV1Api(kubernetes_client.ApiClient(cluster.api.configuration))
    forward = portforward(
        own.connect_get_namespaced_pod_portforward, pod, cluster.namespace, ports=str(pod_port)
    )
    opened: socket.socket = forward.socket(pod_port)
    opened.setblocking(True)
    return opened


def _pump(source: _Socket, sink: _Socket) -> None:
    """Copy bytes until the source ends, then say so to the sink."""
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
