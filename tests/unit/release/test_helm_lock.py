"""The lock that a helm process holds just as long as it lives."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

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
    assert lock.unfinished_since() is None
    begin = time.time()
    with lock.taken() as hold:
        hold.done()
    assert lock.unfinished_since() is None
    with lock.taken():
        pass
    since = lock.unfinished_since()
    assert since is not None
    assert begin <= since <= time.time()
    assert not lock.held()


def test_asking_who_holds_it_forgets_nothing(lock: HelmLock):
    with lock.taken():
        assert lock.held()
    assert not lock.held()
    assert lock.unfinished_since() is not None
