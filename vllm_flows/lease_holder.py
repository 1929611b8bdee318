"""Who holds the lock: a run's name for itself, and whether a run on this machine still lives."""

from __future__ import annotations

import getpass
import os
import re
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_IDENTITY = re.compile(
    r"(?P<shown>\S+@(?P<host>\S+) pid (?P<pid>\d{1,9}) .+)"
    r" \[(?P<boot>[^/\s]*)/(?P<space>[^/\s]*)/(?P<started>\d*)/(?P<run>\w+)\]"
)
_STATE, _STARTED = 0, 19
"""Where /proc/PID/stat has them (proc_pid_stat(5), fields 3 and 22), counted after the name."""
_DEAD = {"Z", "X"}
"""States of a process that has ended and that its parent has not collected yet."""


@dataclass(frozen=True)
class Machine:
    """The machine we run on, as far as it can be told from another of the same name.

    `boot` is its boot id, `space` the number of the process id namespace (two containers of a pod
    share host and boot, not process ids); empty where the system has no such thing. `started`
    answers when a process started (clock ticks since boot): None when there is none of that id or
    it has ended, "" when it is there and may not be looked at.
    """

    host: str
    boot: str
    space: str
    started: Callable[[int], str | None]


def this_machine() -> Machine:
    """Describe the machine and the process id namespace of this very process."""
    return Machine(
        socket.gethostname(),
        _line(_PROC / "sys/kernel/random/boot_id"),
        re.sub(r"\D", "", _link(_PROC / "self/ns/pid")),
        process_started,
    )


def holder_name(verb: str, here: Machine | None = None) -> str:
    """Return a new name for this run: `alice@host pid 4711 upgrade [boot/space/started/run]`.

    The part before the bracket is for people; `run` is random, so no two runs have one name.
    """
    here = here or this_machine()
    pid = os.getpid()
    mark = f"{here.boot}/{here.space}/{here.started(pid) or ''}/{secrets.token_hex(4)}"
    return f"{_user()}@{here.host} pid {pid} {verb} [{mark}]"


def shown(identity: str) -> str:
    """Return the part of a holder's name that is for people; a name not of ours as it is."""
    found = _IDENTITY.fullmatch(identity)
    return found["shown"] if found else identity


def is_gone(identity: str, here: Machine) -> bool:
    """Say whether the holder ran on this machine, in this boot, and its process has ended.

    False whenever that is not certain: for a holder elsewhere, in another container, or on a system
    without boot ids or process start times, only the end of its lease tells.
    """
    found = _IDENTITY.fullmatch(identity)
    if not found or not (found["boot"] and found["space"] and found["started"]):
        return False
    if (found["host"], found["boot"], found["space"]) != (here.host, here.boot, here.space):
        return False
    started = here.started(int(found["pid"]))
    return started is None or started not in {"", found["started"]}


def process_started(pid: int) -> str | None:
    """Return when the process started, as `Machine.started` promises."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        # Mounted with hidepid, /proc lacks what is others'; a signal still finds it.
        return "" if _exists(pid) else None
    except PermissionError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return None if fields[_STATE] in _DEAD else fields[_STARTED]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _user() -> str:
    """Name the account; a container's may have a number alone."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid-{os.getuid()}"
    return re.sub(r"\s", "-", name)


def _line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
