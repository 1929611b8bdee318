from __future__ import annotations

import re
from pathlib import Path

import pytest

from sandbox import build
from sandbox.progress import silent
from sandbox.vault import program, running
from sandbox.vault.running import Keys


def test_another_version_of_the_sources_is_another_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = tmp_path / "server"
    sources.mkdir()
    (sources / "main.go").write_text("package main")
    monkeypatch.setattr(program, "SOURCES", sources)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    built: list[Path] = []

    def make(packages: dict[str, str], directory: Path, *_: object) -> None:
        built.append(directory)
        for name in packages:
            (directory / name).touch()

    monkeypatch.setattr(build, "build", make)
    first = program.ensure(silent)
    assert program.ensure(silent) == first
    (sources / "main.go").write_text("package main // changed")
    assert program.ensure(silent) != first
    assert len(built) == 2


def test_both_go_modules_want_the_same_go() -> None:
    versions = {
        re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
        for module in (build.MODULE, program.SOURCES)
    }
    assert len({match[1] for match in versions if match}) == 1


def test_the_server_listens_on_this_machine_alone() -> None:
    assert running.command(Path("/bin/vault"), 8200) == [
        "/bin/vault",
        "-listen",
        "127.0.0.1:8200",
    ]
    words = running.command(Path("/bin/vault"), 8200, data=Path("/d"), tls=Path("/t"))
    assert words[3:] == ["-data", "/d", "-tls", "/t"]


def test_the_keys_are_kept_for_their_owner_and_never_shown(tmp_path: Path) -> None:
    keys = Keys("http://127.0.0.1:1", "unseal", "hvs.root", "hvs.token", "hvs.reader")
    file = tmp_path / "keys.json"
    assert running.load_keys(file) is None
    keys.save(file)
    assert running.load_keys(file) == keys
    assert file.stat().st_mode & 0o077 == 0
    assert "hvs." not in repr(keys)
    assert "unseal'" not in repr(keys)
