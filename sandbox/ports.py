"""Free TCP ports for a sandbox, and none that another sandbox counts on."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection
from dataclasses import fields

from sandbox.state import Ports, load, names

# Below the range from which Linux takes the ports of outgoing connections, so that none of
# these is taken between the choice and the start of the process that listens there.
_RANGE = range(20_000, 32_000)


def choose() -> Ports:
    """Choose ports on 127.0.0.1 that nobody listens on and no other sandbox has chosen."""
    taken = {port for name in names() for port in _ports_of(name)}
    chosen: list[int] = []
    for _ in fields(Ports):
        chosen.append(_free({*taken, *chosen}))
    return Ports(*chosen)


def unused() -> int:
    """Return a port of 127.0.0.1 for a server that belongs to no sandbox."""
    return _free({port for name in names() for port in _ports_of(name)})


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free(taken: Collection[int]) -> int:
    candidates = [port for port in _RANGE if port not in taken]
    random.shuffle(candidates)
    return next(port for port in candidates if is_free(port))


def _ports_of(name: str) -> list[int]:
    state = load(name)
    if state is None:
        return []
    return [getattr(state.ports, field.name) for field in fields(Ports)]
