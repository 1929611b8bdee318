"""The processes of a sandbox: how they start, how they are found again, how they end.

Every process a sandbox starts inherits one environment variable, `VLLM_FLOWS_SANDBOX`, whose
value is the sandbox's directory; so do its children and theirs. Ending a sandbox means ending
all processes that carry that very value, whoever started them and whatever became of their
parents. No process without it is ever touched.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import psutil

from sandbox.errors import SandboxError
from sandbox.hub.access import TOKEN_VARIABLE
from sandbox.state import REPOSITORY, SandboxState

MARKER = "VLLM_FLOWS_SANDBOX"
_INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER")
_ROUNDS_OF_KILLING = 5

# Popen complains when it is thrown away while its process lives on, which is the point here.
_started: list[subprocess.Popen[bytes]] = []


def environment(directory: Path, **extra: str) -> dict[str, str]:
    """Return the environment of a process of the sandbox: the marker, and no secret of the caller.

    Of the caller's variables only the harmless ones pass (`PATH`, `HOME`, …), and those
    that begin with `VLLM_SANDBOX_`, which tune the simulation.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _INHERITED or (name.startswith("VLLM_SANDBOX_") and name != TOKEN_VARIABLE)
    }
    return kept | {MARKER: str(directory), "PYTHONPATH": str(REPOSITORY)} | extra


def start(
    state: SandboxState, name: str, command: Sequence[str], environ: Mapping[str, str]
) -> int:
    """Start `command` in the background as the sandbox's process `name`; return its process id.

    Its output goes to `<state>/logs/<name>.log`. It has a session of its own, so a Ctrl-C
    meant for the command line does not reach it.

    Raises SandboxError when `name` runs already or the program cannot be started.
    """
    if is_running(state, name):
        raise SandboxError(
            f"{name} runs already in sandbox {state.name}",
            next_command=f"python -m sandbox status --name {state.name}",
        )
    log = log_file(state, name)
    with log.open("ab") as output:
        try:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**environ, MARKER: str(state.directory)},
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxError(f"{name} cannot be started", why=str(error)) from error
    _started.append(process)
    # The kernel shows a program's environment a moment after it began.
    shown = psutil.Process(process.pid)
    while shown.status() != psutil.STATUS_ZOMBIE and not carries_marker(shown.pid, state.directory):
        time.sleep(0.001)
    (state.processes / f"{name}.pid").write_text(f"{process.pid}\n", encoding="ascii")
    return process.pid


def start_module(state: SandboxState, name: str, *arguments: str, **environ: str) -> int:
    """Start `python -m sandbox.<name>` with `arguments`, and with `environ` beside; see `start`."""
    command = [sys.executable, "-m", f"sandbox.{name}", *arguments]
    return start(state, name, command, environment(state.directory, **environ))


def log_file(state: SandboxState, name: str) -> Path:
    """Return the file that holds the output of the sandbox's process `name`."""
    return state.logs / f"{name}.log"


def last_words(state: SandboxState, name: str, lines: int = 15) -> str:
    """Return the end of a process's output, for an error's text."""
    try:
        text = log_file(state, name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def process_ids(state: SandboxState) -> dict[str, int]:
    """Return the ids of the sandbox's processes by name, whether they live or not."""
    files = [*state.processes.glob("*.pid"), *state.kwok.glob("clusters/*/pids/*.pid")]
    found = {}
    for file in sorted(files):
        try:
            found[file.stem] = int(file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
    return found


def is_running(state: SandboxState, name: str) -> bool:
    """Whether the process `name` lives and is this sandbox's: a process id may be used again."""
    pid = process_ids(state).get(name)
    return pid is not None and carries_marker(pid, state.directory)


def marked_directories() -> set[Path]:
    """Return the directories of all sandboxes that have a live process, removed ones too."""
    found = set()
    for process in psutil.process_iter():
        try:
            marker = process.environ().get(MARKER)
        except (psutil.Error, OSError):
            continue
        if marker:
            found.add(Path(marker))
    return found


def carries_marker(pid: int, directory: Path) -> bool:
    """Whether a live process has the sandbox's marker in its environment."""
    try:
        return psutil.Process(pid).environ().get(MARKER) == str(directory)
    except (psutil.Error, OSError):
        # It is gone, a zombie (which has no environment left), or somebody else's.
        return False


def belonging_to(directory: Path) -> list[psutil.Process]:
    """All live processes of the sandbox, without this one and the ones that started it."""
    ourselves = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in ourselves and carries_marker(process.pid, directory)
    ]


def stop_all(directory: Path, grace: float = 5.0, at_once: Collection[str] = ()) -> int:
    """End every process of the sandbox and say how many there were.

    They are asked to end, and killed after `grace` seconds; programs whose name is in
    `at_once` are killed without being asked. A process that starts another one meanwhile
    does not escape: the search is repeated until it finds none.

    Raises SandboxError when a process survives even that (it waits on a dead disk, say).
    """

    def ask(process: psutil.Process) -> None:
        if process.name() in at_once:
            process.kill()
        else:
            process.terminate()

    ended = _signal(directory, ask, grace)
    for _ in range(_ROUNDS_OF_KILLING):
        found = _signal(directory, psutil.Process.kill, grace)
        if not found:
            _started[:] = [process for process in _started if process.poll() is None]
            return len(ended)
        ended |= found
    left = ", ".join(str(process.pid) for process in belonging_to(directory))
    raise SandboxError(
        f"processes of {directory} cannot be killed: {left}", next_command="ps -fp " + left
    )


def _signal(directory: Path, send: Callable[[psutil.Process], None], patience: float) -> set[int]:
    """Signal the sandbox's processes and wait until they are gone or `patience` is used up."""
    found = belonging_to(directory)
    for process in found:
        try:
            send(process)
        except psutil.NoSuchProcess:
            continue
    deadline = time.monotonic() + patience
    left = [process.pid for process in found]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [pid for pid in left if carries_marker(pid, directory)]
    return {process.pid for process in found}
