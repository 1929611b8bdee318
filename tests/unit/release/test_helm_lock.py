"""The lock that a helm process holds just as long as it lives."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vllm_flows.errors import ReleaseUnavailableError
from vllm_flows.helm_lock import HelmLock


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HelmLock:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return HelmLock.of("vllm", "")


def test_a_process_that_inherited_the_lock_holds_it_after_its_starter_let_go(lock: HelmLock):
    with lock.taken() as inherited:
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=inherited)  # noqa: S607 -- any program
    assert lock.held()
    with pytest.raises(ReleaseUnavailableError, match="still at work"), lock.taken():
        pass
    child.communicate()
    assert not lock.held()


def test_other_namespaces_and_contexts_have_locks_of_their_own(lock: HelmLock):
    with lock.taken():
        assert not HelmLock.of("other", "").held()
        assert not HelmLock.of("vllm", "other").held()


def test_a_link_in_the_locks_place_is_not_followed(lock: HelmLock, tmp_path: Path):
    lock.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"), lock.taken():
        pass
    assert not (tmp_path / "elsewhere").exists()
