"""Which pod the connections of a port-forward go to, while pods come and go, and what is said."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.errors import ClusterError
from vllm_flows.portforward import Tunnel, cut
from vllm_flows.replicas import ready_replicas
from vllm_flows.waiting import Clock

_AGAIN_SECONDS = 1.0

Pod = tuple[str, str]
"""The name of a pod, and what is another after its containers started anew."""


@dataclass(frozen=True)
class Pods:
    """Those that are there, and of these the names of the ready ones, in an order that stays."""

    there: frozenset[Pod]
    ready: tuple[str, ...]


def pods_of(found: Iterable[Mapping[str, Any]]) -> Pods:
    """Return what a list of pods says. Pure."""
    pods = list(found)
    return Pods(
        frozenset((str(pod["metadata"]["name"]), _run(pod)) for pod in pods),
        tuple(sorted(replica.pod for replica in ready_replicas(pods))),
    )


def _run(pod: Mapping[str, Any]) -> str:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    restarts = sum(int(status.get("restartCount", 0)) for status in statuses)
    return f"{pod['metadata'].get('uid', '')} {restarts}"


class Way:
    """The way for new connections: to a pod that is ready, for as long as it is.

    `look` returns the pods of now, `open_to` connects to one. A connection that finds no way is
    kept for `patience` seconds. One whose pod is gone is cut: its end may not come by itself.
    Used by many threads.
    """

    def __init__(
        self,
        look: Callable[[], Pods],
        open_to: Callable[[str], Tunnel],
        say: Callable[[str], None],
        clock: Clock,
        patience: float = 60.0,
    ) -> None:
        self._look, self._open_to, self._say = look, open_to, say
        self._clock, self._patience = clock, patience
        self._lock = threading.Lock()
        self._pods = Pods(frozenset(), ())
        self._current = ""
        self._trouble = ""
        self._unreachable = ""
        self._used: dict[socket.socket, Pod] = {}

    def look(self) -> None:
        """See who is there now, say what changed, and cut the connections to pods that are gone.

        Raises ClusterError when another look cannot help.
        """
        with self._lock:
            try:
                self._pods = self._look()
            except ClusterError as error:
                if not error.retryable:
                    raise
                self._complain(f"{error.what} ({error.why}); trying again")
                return
            self._cut_the_lost()
            self._choose()

    def _choose(self) -> None:
        """Stay with the pod that is used while it is ready, else take another."""
        if self._current in self._pods.ready:
            if self._trouble:
                self._trouble = ""
                self._say(f"forwarding to pod {self._current} again")
            return
        before, self._current = self._current, next(iter(self._pods.ready), "")
        lost = f"pod {before} is no longer ready; " if before else ""
        if self._current:
            self._trouble = ""
            self._say(f"{lost}forwarding to pod {self._current}")
        else:
            self._complain(f"{lost}no other is: connections wait for one")

    def _complain(self, text: str) -> None:
        """Say what is wrong, once while it lasts."""
        if not self._trouble:
            self._say(text)
        self._trouble = text

    def _cut_the_lost(self) -> None:
        lost = [client for client, pod in self._used.items() if pod not in self._pods.there]
        for client in lost:
            cut(client)
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RD)  # wakes its thread, which closes it
            del self._used[client]
        if lost:
            self._say(f"connections cut off with their pod: {len(lost)}")

    def connect(self, client: socket.socket) -> Tunnel | None:
        """Connect to the pod of now, or to the next one; None when none came in time."""
        begin = self._clock.now()
        while True:
            found = self._try(client)
            if found or self._clock.now() - begin >= self._patience:
                return found
            self._clock.sleep(_AGAIN_SECONDS)
            with contextlib.suppress(ClusterError):  # whoever looks all the time is told
                self.look()

    def _try(self, client: socket.socket) -> Tunnel | None:
        with self._lock:
            pod, there = self._current, dict(self._pods.there)
        if not pod:
            return None
        try:
            tunnel = self._open_to(pod)
        except ClusterError as error:
            self._tell_unreachable(pod, f"{error.what} ({error.why}); trying again")
            return None
        with self._lock:
            self._unreachable = ""
            self._used[client] = (pod, there.get(pod, ""))
        return tunnel

    def _tell_unreachable(self, pod: str, text: str) -> None:
        """Say that a pod cannot be reached, once while that lasts."""
        with self._lock:
            if self._unreachable != pod:
                self._say(text)
            self._unreachable = pod

    def ended(self, client: socket.socket, broken: ClusterError | None) -> None:
        """Take note that a connection is over; say so when something broke it off."""
        with self._lock:
            known = self._used.pop(client, None)
        if broken and known:
            self._say(f"a connection to pod {known[0]} broke off: {broken.why}")
