"""Containers run as local processes and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sandbox.agent.processes import POD_VARIABLE, Process, end_leftovers, stop


def run(tmp_path: Path, *arguments: str) -> tuple[Process, threading.Event]:
    ended = threading.Event()
    environment = {"PATH": "/usr/bin:/bin", POD_VARIABLE: f"{tmp_path}/pods/uid"}
    log = tmp_path / "logs" / "0.log"
    return Process(arguments, environment, tmp_path, log, ended.set), ended


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(is_so: Callable[[], bool]) -> None:
    """Fail when it does not become so: the test's own timeout ends the wait."""
    while not is_so():
        time.sleep(0.01)


def test_output_and_exit_code_are_kept(tmp_path: Path) -> None:
    process, ended = run(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert ended.wait(5)
    assert process.exit_code == 3
    lines = process.log.read_text().splitlines()
    assert sorted(line.split(" ", 1)[1] for line in lines) == ["stderr F err", "stdout F out"]


def test_only_the_given_environment_is_there(tmp_path: Path) -> None:
    process, ended = run(tmp_path, "env")
    assert ended.wait(5)
    names = {line.split(" ", 3)[3].split("=")[0] for line in process.log.read_text().splitlines()}
    assert names <= {"PATH", POD_VARIABLE, "PWD", "SHLVL", "_", "LC_CTYPE"}


def test_a_process_that_ends_at_sigterm_is_not_killed(tmp_path: Path) -> None:
    process, _ = run(tmp_path, "sleep", "60")
    stop([process], seconds=5)
    assert process.exit_code == 128 + 15


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); "
        "print(1, flush=True); time.sleep(60)"
    )
    process, _ = run(tmp_path, sys.executable, "-c", script)
    while not process.log.read_text():
        pass
    stop([process], seconds=0.1)
    assert process.exit_code == 128 + 9


def test_waiting_ends_early_when_there_is_no_more_time(tmp_path: Path) -> None:
    process, _ = run(tmp_path, "sh", "-c", "trap '' TERM; sleep 60")
    stop([process], seconds=60, hurry=lambda: True)
    assert process.exit_code is not None


def test_what_a_process_started_ends_with_it(tmp_path: Path) -> None:
    process, ended = run(tmp_path, "sh", "-c", "sleep 60 & echo $!")
    assert ended.wait(5)
    child = int(process.log.read_text().split()[-1])
    wait_until(lambda: not lives(child))


def test_an_unknown_program_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run(tmp_path, "no-such-program")


def test_leftovers_are_found_by_their_pods_folder(tmp_path: Path) -> None:
    # As after a killed agent: nobody's child, but for the variable that it carries.
    environ = {"PATH": "/usr/bin:/bin", POD_VARIABLE: f"{tmp_path}/pods/uid"}
    script = "sleep 60 > /dev/null 2>&1 & echo $!"
    started = subprocess.check_output(["sh", "-c", script], env=environ, text=True)  # noqa: S607 -- whichever sh is on PATH
    wait_until(lambda: psutil.Process(int(started)).name() == "sleep")
    assert end_leftovers(tmp_path / "others") == 0
    assert end_leftovers(tmp_path / "pods") == 1
    assert end_leftovers(tmp_path / "pods") == 0
