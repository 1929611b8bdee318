from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from vllm_flows import lease_holder
from vllm_flows.lease_holder import (
    Machine,
    holder_name,
    is_gone,
    process_started,
    shown,
    this_machine,
)

HERE = Machine("host", "boot", "1", {10: "100", 30: ""}.get)
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when processes start")


def test_people_read_user_host_process_and_verb():
    name = holder_name("upgrade", HERE)
    assert shown(name).endswith(f"@host pid {os.getpid()} upgrade")
    assert "[" not in shown(name)


def test_no_two_runs_have_one_name():
    assert holder_name("upgrade") != holder_name("upgrade")


def test_a_name_that_is_not_ours_is_shown_as_it_is_and_never_gone():
    assert shown("someone-else_1234") == "someone-else_1234"
    assert not is_gone("someone-else_1234", HERE)


def test_a_user_without_a_name_is_known_by_number(monkeypatch: pytest.MonkeyPatch):
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(lease_holder.getpass, "getuser", unknown)
    assert shown(holder_name("upgrade", HERE)).startswith(f"uid-{os.getuid()}@host ")


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("a@host pid 10 upgrade [boot/1/100/r]", False),  # lives
        ("a@host pid 10 upgrade [boot/1/99/r]", True),  # its number is another process's now
        ("a@host pid 11 upgrade [boot/1/100/r]", True),  # no such process
        ("a@host pid 11 upgrade of the schedule [boot/1/100/r]", True),
        ("a@host pid 30 upgrade [boot/1/100/r]", False),  # there, and not to be seen
        ("a@other pid 11 upgrade [boot/1/100/r]", False),  # on another machine
        ("a@host pid 11 upgrade [later/1/100/r]", False),  # one of the same name, or before a boot
        ("a@host pid 11 upgrade [boot/2/100/r]", False),  # in another container
        ("a@host pid 11 upgrade [//100/r]", False),  # on a system that tells nothing
        ("a@host pid 11 upgrade [boot/1//r]", False),
    ],
)
def test_only_a_process_that_surely_ended_is_gone(name: str, gone: bool):  # noqa: FBT001 -- a case
    assert is_gone(name, HERE) is gone


@pytest.mark.parametrize(("boot", "space"), [("", ""), ("", "1"), ("boot", "")])
def test_where_the_system_does_not_tell_machines_apart_nobody_is_gone(boot: str, space: str):
    nameless = replace(HERE, boot=boot, space=space)
    assert not is_gone(f"a@host pid 11 upgrade [{boot}/{space}/100/r]", nameless)


@linux
def test_this_very_process_is_not_gone():
    assert not is_gone(holder_name("upgrade"), this_machine())


@linux
def test_a_process_is_gone_once_it_was_killed_even_before_its_parent_knows():
    here = this_machine()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_started(child.pid)
    mark = f"{here.boot}/{here.space}/{started}/run"
    name = f"a@{here.host} pid {child.pid} upgrade [{mark}]"
    assert started
    assert not is_gone(name, here)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and not collected
    assert is_gone(name, here)
    child.communicate()
    assert is_gone(name, here)


def test_a_user_whose_name_has_spaces_is_read_as_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lease_holder.getpass, "getuser", lambda: "Alice Smith")
    name = holder_name("upgrade", HERE)
    assert shown(name) == f"Alice-Smith@host pid {os.getpid()} upgrade"


@pytest.fixture
def proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put a folder in the place of /proc, empty as for somebody who may see nothing."""
    monkeypatch.setattr(lease_holder, "_PROC", tmp_path)
    return tmp_path


def stat(proc: Path, pid: int, name: str, state: str) -> None:
    """Write what /proc tells of a process that started at 4711."""
    (proc / str(pid)).mkdir()
    fields = " ".join([state, *["0"] * 18, "4711", "0"])
    (proc / str(pid) / "stat").write_text(f"{pid} ({name}) {fields}\n")


@pytest.mark.parametrize(
    ("state", "started"), [("S", "4711"), ("R", "4711"), ("Z", None), ("X", None)]
)
def test_a_process_that_ended_has_no_start_any_more(proc: Path, state: str, started: str | None):
    stat(proc, 7, "python", state)
    assert process_started(7) == started


def test_a_program_may_be_called_as_it_likes(proc: Path):
    stat(proc, 7, "a) S (b", "S")
    assert process_started(7) == "4711"


def test_a_process_that_is_hidden_is_there_and_one_that_is_not_there_is_gone(
    proc: Path, monkeypatch: pytest.MonkeyPatch
):
    assert list(proc.iterdir()) == []
    assert process_started(os.getpid()) == ""
    for error, started in ((PermissionError, ""), (ProcessLookupError, None)):
        monkeypatch.setattr(lease_holder.os, "kill", raising(error))
        assert process_started(7) == started


def test_a_process_that_may_not_be_looked_at_is_there(proc: Path, monkeypatch: pytest.MonkeyPatch):
    stat(proc, 7, "python", "S")
    monkeypatch.setattr(Path, "read_text", raising(PermissionError))
    assert process_started(7) == ""


def raising(error: type[OSError]) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise error

    return refuse
