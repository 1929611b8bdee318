from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from sandbox import binaries
from sandbox.binaries import PROGRAMS
from sandbox.errors import UnavailableError
from sandbox.progress import silent


@pytest.fixture(autouse=True)
def _empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    (tmp_path / "path").mkdir()


def program(directory: Path, name: str, prints: str, code: int = 0) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / name
    file.write_text(f"#!/bin/sh\necho '{prints}'\nexit {code}\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def cached(name: str) -> Path:
    return program(binaries.cache_directory(), name, "")


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("etcd Version: 3.6.8\nGit SHA: abc", (3, 6, 8)),
        ("Kubernetes v1.36.1", (1, 36, 1)),
        ('{"clientVersion": {"major": "1", "minor": "32+", "gitVersion": "v1.32.4"}}', (1, 32, 4)),
        ("v3.19.0+g3d8990f", (3, 19, 0)),
        ("v4.3", (4, 3, 0)),
        ("kwok version v0.8.0 go1.26.8 (linux/amd64)", (0, 8, 0)),
        ("command not found", None),
    ],
)
def test_a_version_is_read_from_what_each_program_prints(
    printed: str, version: tuple[int, int, int] | None
) -> None:
    assert binaries.parse_version(printed) == version


@pytest.mark.parametrize(
    ("name", "version", "accepted"),
    [
        ("etcd", (3, 4, 30), False),
        ("etcd", (3, 5, 13), True),
        ("kube-apiserver", (1, 36, 0), True),
        ("kube-apiserver", (1, 35, 9), False),
        ("kube-apiserver", (1, 37, 0), False),
        ("kubectl", (1, 29, 9), False),
        ("kubectl", (1, 40, 0), True),
        ("helm", (3, 14, 0), True),
        ("helm", (2, 17, 0), False),
        ("kwok", (0, 7, 0), False),
    ],
)
def test_a_program_on_path_takes_part_only_when_it_is_recent_enough(
    name: str, version: tuple[int, int, int], *, accepted: bool
) -> None:
    assert PROGRAMS[name].accepts(version) is accepted


def test_a_recent_program_on_path_is_used(tmp_path: Path) -> None:
    helm = program(tmp_path / "path", "helm", "v3.19.0+g3d8990f")
    cached("helm")
    assert binaries.ensure(silent, ["helm"]) == {"helm": str(helm)}


@pytest.mark.parametrize(("prints", "code"), [("v2.17.0", 0), ("v3.19.0", 1), ("hello", 0)])
def test_an_old_or_broken_program_on_path_gives_way_to_the_cache(
    tmp_path: Path, prints: str, code: int
) -> None:
    program(tmp_path / "path", "helm", prints, code)
    helm = cached("helm")
    assert binaries.ensure(silent, ["helm"]) == {"helm": str(helm)}


def test_what_is_in_the_cache_is_neither_downloaded_nor_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in PROGRAMS:
        cached(name)
    monkeypatch.setattr(binaries, "download", None)
    monkeypatch.setattr(binaries, "build", None)
    found = binaries.ensure(silent)
    assert found == {name: str(binaries.cache_directory() / name) for name in PROGRAMS}


def test_what_cannot_be_downloaded_is_built_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[str] = []

    def fetch(name: str, *_rest: object) -> None:
        if name != "etcd":
            raise UnavailableError("no", why="offline")
        cached(name)

    def build(packages: dict[str, str], *_rest: object) -> None:
        built.extend(packages)
        for name in packages:
            cached(name)

    online = SimpleNamespace(possible=lambda _report: True, fetch=fetch)
    monkeypatch.setattr(binaries, "download", online)
    monkeypatch.setattr(binaries, "build", SimpleNamespace(build=build))
    found = binaries.ensure(silent, ["etcd", "kwok", "helm"])
    assert built == ["kwok", "helm"]
    assert set(found) == {"etcd", "kwok", "helm"}


def test_the_cache_is_one_directory_per_set_of_versions() -> None:
    name = binaries.cache_directory().name
    for pinned in (PROGRAMS["kubectl"], PROGRAMS["etcd"], PROGRAMS["kwok"], PROGRAMS["helm"]):
        assert pinned.version in name


def test_the_versions_are_those_the_go_module_pins() -> None:
    module = (Path(binaries.__file__).parent / "gomod" / "go.mod").read_text(encoding="utf-8")
    for requirement in (
        f"k8s.io/kubernetes v{PROGRAMS['kubectl'].version}",
        f"go.etcd.io/etcd/server/v3 v{PROGRAMS['etcd'].version}",
        f"sigs.k8s.io/kwok v{PROGRAMS['kwok'].version}",
        f"helm.sh/helm/v4 v{PROGRAMS['helm'].version}",
    ):
        assert f"\t{requirement}\n" in module
