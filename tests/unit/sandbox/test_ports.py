from __future__ import annotations

import socket
from dataclasses import astuple
from pathlib import Path

import pytest

from sandbox import ports, state
from sandbox.state import SandboxState


@pytest.fixture(autouse=True)
def _state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_the_ports_of_a_sandbox_are_different_and_free() -> None:
    chosen = astuple(ports.choose())
    assert len(set(chosen)) == len(chosen)
    assert all(ports.is_free(port) for port in chosen)


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert not ports.is_free(server.getsockname()[1])


def test_ports_of_another_sandbox_are_not_chosen_even_when_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "_RANGE", range(20_000, 20_020))
    first = ports.choose()
    other = SandboxState(state.directory_of("other"), "0123", first, "token", {})
    other.make_directories()
    other.save()
    monkeypatch.setattr(ports, "is_free", lambda _port: True)
    assert set(astuple(ports.choose())).isdisjoint(astuple(first))
