"""The lock that a helm process holds just as long as it lives."""

from __future__ import annotations

import fcntl
import math
import os
import pwd
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from vllm_flows import helm_lock
from vllm_flows.errors import ReleaseUnavailableError
from vllm_flows.helm_lock import HelmLock


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HelmLock:
    monkeypatch.setattr(helm_lock, "account_folder", lambda: tmp_path)
    return HelmLock.of("uid-1")


def test_a_process_that_inherited_the_lock_holds_it_after_its_starter_let_go(lock: HelmLock):
    with lock.taken() as hold:
        inherited = (hold.descriptor,)
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=inherited)  # noqa: S607 -- any program
    assert lock.held()
    with pytest.raises(ReleaseUnavailableError, match="still at work"), lock.taken():
        pass
    child.communicate()
    assert not lock.held()


def test_the_command_that_ends_the_helm_that_holds_it_is_known(lock: HelmLock):
    with lock.taken() as hold:
        child = subprocess.Popen(  # with one of its own, which holds the lock as well
            ["sh", "-c", "sleep 777 & wait"],  # noqa: S607 -- any program
            pass_fds=(hold.descriptor,),
            start_new_session=True,
        )
        hold.begun(child.pid)
    with pytest.raises(ReleaseUnavailableError) as caught, lock.taken():
        pass
    assert caught.value.next_command == lock.ending() == f"kill -- -{child.pid}"
    subprocess.run(["bash", "-c", lock.ending()], check=True)  # noqa: S607 -- what is promised
    assert child.wait() == -signal.SIGTERM
    waits = threading.Event()
    while lock.held():
        waits.wait(0.01)


def test_where_the_file_does_not_tell_which_helm_holds_it_the_command_shows_it(lock: HelmLock):
    assert lock.ending().startswith("ps -C helm")
    with lock.taken():
        assert lock.ending().startswith("ps -C helm")


@pytest.mark.parametrize("ended", ["seen", "reaped"])
def test_a_number_that_may_be_anothers_by_now_is_not_given_to_kill(lock: HelmLock, ended: str):
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)  # noqa: S607 -- any program
    with lock.taken() as hold:
        hold.begun(child.pid)
        if ended == "seen":
            hold.failed()
        else:
            child.communicate()
        assert lock.ending().startswith("ps -C helm")
    child.communicate()


def test_a_process_that_leads_no_group_of_its_own_is_not_given_to_kill(lock: HelmLock):
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)  # noqa: S607 -- any program
    with lock.taken() as hold:
        hold.begun(child.pid)
        assert lock.ending().startswith("ps -C helm")
    child.communicate()


def test_who_asks_at_the_same_moment_is_taken_for_no_helm(
    lock: HelmLock, monkeypatch: pytest.MonkeyPatch
):
    assert not lock.held()
    asking = os.open(lock.path, os.O_RDWR)
    fcntl.flock(asking, fcntl.LOCK_SH)
    assert not lock.held()
    monkeypatch.setattr(time, "sleep", lambda _: os.close(asking))
    with lock.taken():
        pass


def test_each_namespace_of_each_cluster_has_a_lock_of_its_own(lock: HelmLock):
    with lock.taken():
        assert HelmLock.of("uid-1").held()
        assert not HelmLock.of("uid-2").held()


@pytest.mark.parametrize("name", ["XDG_RUNTIME_DIR", "TMPDIR", "HOME", "KUBECONFIG"])
def test_the_lock_is_the_same_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
):
    before = HelmLock.of("uid-1")
    monkeypatch.setenv(name, str(tmp_path))
    assert HelmLock.of("uid-1") == before


def test_a_link_in_the_locks_place_is_not_followed(lock: HelmLock, tmp_path: Path):
    lock.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"), lock.taken():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_only_a_helm_without_a_good_end_is_remembered(lock: HelmLock):
    assert lock.unfinished() is None
    begin = time.time()
    with lock.taken() as hold:
        hold.done()
    assert lock.unfinished() is None
    with lock.taken() as hold:
        hold.begun(123)
    unfinished = lock.unfinished()
    assert unfinished
    assert begin <= unfinished[0] <= time.time()
    assert unfinished[1] == math.inf
    assert not lock.held()


def test_when_a_helm_failed_is_remembered_with_it(lock: HelmLock):
    with lock.taken() as hold:
        hold.begun(123)
        hold.failed()
    unfinished = lock.unfinished()
    assert unfinished
    assert unfinished[0] <= unfinished[1] <= time.time()


def test_asking_who_holds_it_forgets_nothing(lock: HelmLock):
    with lock.taken():
        assert lock.held()
    assert not lock.held()
    assert lock.unfinished() is not None


def test_asking_who_holds_it_leaves_no_mark_of_a_helm(lock: HelmLock):
    assert not lock.held()
    assert lock.unfinished() is None


def test_the_mark_of_a_helm_replaces_whatever_was_there(lock: HelmLock):
    lock.path.write_text("no time, and longer than any time is written" * 2)
    assert lock.unfinished() is None
    with lock.taken():
        pass
    assert lock.unfinished() is not None


def test_only_the_account_itself_may_open_it(lock: HelmLock):
    before = os.umask(0)
    try:
        with lock.taken():
            assert lock.path.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_an_account_without_a_folder_of_its_own_uses_the_machines(monkeypatch: pytest.MonkeyPatch):
    def unknown(_uid: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert helm_lock.account_folder() == Path("/tmp")  # noqa: S108 -- what is promised


def test_a_home_that_cannot_be_written_to_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: SimpleNamespace(pw_dir=str(tmp_path)))
    assert helm_lock.account_folder() == tmp_path / ".cache" / "vllm-flows"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert helm_lock.account_folder() == Path("/tmp")  # noqa: S108 -- what is promised
