from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

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


def test_where_the_system_has_no_boot_id_nobody_is_gone():
    nameless = replace(HERE, boot="", space="")
    assert not is_gone("a@host pid 11 upgrade [//100/r]", nameless)


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
