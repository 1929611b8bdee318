"""Made-up pod addresses, and free ports of 127.0.0.1 behind them."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterable

# Below the range from which the system takes ports for outgoing connections, so that no
# connection takes a port between its choice here and its use by the container.
_PORTS = range(20000, 32000)
_NETWORK = "10.244"
_HOSTS = 250


class Addresses:
    """Gives pods addresses that no other pod has."""

    def __init__(self, used: Iterable[str] = ()) -> None:
        self._lock = threading.Lock()
        self._used = set(used)
        self._next = 0

    def take(self, kept: str = "") -> str:
        """Return an address: `kept` when the pod had one already, else a new one."""
        with self._lock:
            address = kept
            while not address or (not kept and address in self._used):
                address = f"{_NETWORK}.{self._next // _HOSTS}.{self._next % _HOSTS + 2}"
                self._next += 1
            self._used.add(address)
            return address

    def release(self, address: str) -> None:
        """Take back the address of a pod that is gone."""
        with self._lock:
            self._used.discard(address)


class Ports:
    """Gives containers ports that are free and were given to no other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: set[int] = set()

    def take(self) -> int:
        """Return a port of 127.0.0.1 on which nothing listens."""
        with self._lock:
            while True:
                port = random.choice(_PORTS)  # noqa: S311 -- any port will do
                if port not in self._used and _is_free(port):
                    self._used.add(port)
                    return port

    def release(self, port: int) -> None:
        """Take back a port that is no longer used."""
        with self._lock:
            self._used.discard(port)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
