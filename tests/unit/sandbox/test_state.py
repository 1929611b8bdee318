from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sandbox import state
from sandbox.errors import SandboxError
from sandbox.state import Ports, SandboxState


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SandboxState:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    made = SandboxState(
        directory=state.directory_of("try"),
        identifier="0123",
        ports=Ports(1, 2, 3, 4, 5, 6, 7, 8, 9),
        hub_token="hf_sandbox0123",
        programs={"helm": "/somewhere/helm"},
    )
    made.make_directories()
    return made


def test_what_is_saved_is_loaded_again(sandbox: SandboxState) -> None:
    sandbox.save()
    assert state.load("try") == sandbox
    assert state.names() == ["try"]


def test_a_sandbox_without_a_readable_state_is_none(sandbox: SandboxState) -> None:
    assert state.load("try") is None
    sandbox.file.write_text('{"identifier": "0123", "ports": {}}', encoding="utf-8")
    assert state.load("try") is None


def test_saving_leaves_no_partial_file_and_lets_only_the_owner_read(sandbox: SandboxState) -> None:
    sandbox.save()
    assert list(sandbox.directory.glob("*.partial")) == []
    assert stat.S_IMODE(sandbox.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(sandbox.directory.stat().st_mode) == 0o700


def test_everything_lies_below_the_one_directory(sandbox: SandboxState) -> None:
    places = [
        sandbox.file,
        sandbox.kubeconfig,
        sandbox.kwok,
        sandbox.logs,
        sandbox.processes,
        sandbox.hub,
        sandbox.agent_ready,
    ]
    assert all(place.is_relative_to(sandbox.directory) for place in places)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "UPPER", "-a", "a" * 33])
def test_a_name_that_could_leave_the_directory_is_refused(name: str) -> None:
    with pytest.raises(SandboxError, match="no name for a sandbox"):
        state.directory_of(name)


def test_lock_files_and_strangers_are_no_sandboxes(sandbox: SandboxState) -> None:
    (state.root() / ".try.lock").mkdir()
    (state.root() / "file").touch()
    assert state.names() == [sandbox.name]
