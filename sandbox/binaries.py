"""The programs the sandbox is made of, and where each one comes from.

In this order: from PATH when it is recent enough, from the cache, downloaded from its
project's official releases, built with Go from the modules that `sandbox/gomod` pins.

The cache is `$XDG_CACHE_HOME/vllm-flows/binaries/<versions>` (`~/.cache` when unset). A
program appears there in one step, complete; two sandboxes may fill it at the same time.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sandbox import build, download, locks
from sandbox.errors import UnavailableError
from sandbox.progress import Report

Version = tuple[int, int, int]

_VERSION = re.compile(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?")
_ASK_SECONDS = 20


@dataclass(frozen=True)
class Program:
    """One program: the version that is fetched, and which one on PATH will do as well.

    `minimum` is the oldest that will do; with `same_minor` no other minor version will.
    `package` is what Go builds it from, `ask` makes it tell its version.
    """

    name: str
    version: str
    package: str
    minimum: Version
    same_minor: bool = False
    ask: tuple[str, ...] = ("--version",)

    def accepts(self, version: Version) -> bool:
        """Whether a program of this version, found on PATH, can take part."""
        if self.same_minor and version[:2] != self.minimum[:2]:
            return False
        return version >= self.minimum


def _kubernetes(name: str) -> Program:
    return Program(name, "1.36.1", f"k8s.io/kubernetes/cmd/{name}", (1, 36, 0), same_minor=True)


PROGRAMS = {
    program.name: program
    for program in (
        # KWOK 0.8 starts etcd with flags that 3.4 does not know.
        Program("etcd", "3.6.8", "go.etcd.io/etcd/server/v3", (3, 5, 13)),
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        Program(
            "kubectl",
            "1.36.1",
            "k8s.io/kubernetes/cmd/kubectl",
            (1, 31, 0),  # `wait --for=create`
            ask=("version", "--client", "-o", "json"),
        ),
        Program("kwok", "0.8.0", "sigs.k8s.io/kwok/cmd/kwok", (0, 8, 0), same_minor=True),
        Program("kwokctl", "0.8.0", "sigs.k8s.io/kwok/cmd/kwokctl", (0, 8, 0), same_minor=True),
        Program(
            "helm",
            "4.3.1",
            "helm.sh/helm/v4/cmd/helm",
            (3, 14, 0),
            ask=("version", "--short"),
        ),
    )
}


def parse_version(text: str) -> Version | None:
    """Return the first version in what a program printed, such as `v1.36.1`; None without one."""
    match = _VERSION.search(text)
    if match is None:
        return None
    return int(match[1]), int(match[2]), int(match[3] or 0)


def target() -> tuple[str, str]:
    """Return this machine as Go names it: operating system and architecture."""
    machine = platform.machine()
    return sys.platform, {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def cache_root() -> Path:
    """Return the directory of the programs of all versions, and of Go if it had to be fetched."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home).absolute() / "vllm-flows" / "binaries"


def cache_directory() -> Path:
    """Return the directory that holds the programs of the pinned versions for this machine."""
    pinned = {
        "kubernetes": PROGRAMS["kubectl"].version,
        "etcd": PROGRAMS["etcd"].version,
        "kwok": PROGRAMS["kwok"].version,
        "helm": PROGRAMS["helm"].version,
    }
    versions = [f"{name}-{version}" for name, version in pinned.items()]
    return cache_root() / "_".join([*versions, "-".join(target())])


def on_path(program: Program) -> Path | None:
    """Return the program on PATH, if it is there, runs, and is recent enough."""
    found = shutil.which(program.name)
    if found is None:
        return None
    try:
        answer = subprocess.run(
            [found, *program.ask], capture_output=True, text=True, timeout=_ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    version = parse_version(answer.stdout + answer.stderr)
    if answer.returncode != 0 or version is None or not program.accepts(version):
        return None
    return Path(found)


def in_cache(program: Program) -> Path | None:
    """Return the program in the cache, if it is there."""
    path = cache_directory() / program.name
    return path if path.is_file() and os.access(path, os.X_OK) else None


def ensure(report: Report, wanted: Iterable[str] = tuple(PROGRAMS)) -> dict[str, str]:
    """Get every wanted program, by whatever way works, and return their paths by name.

    Raises ChecksumError when a download is not what its publisher describes, and
    SandboxError when a program can neither be downloaded nor built.
    """
    programs = [PROGRAMS[name] for name in wanted]
    found = _present(programs)
    missing = [program for program in programs if program.name not in found]
    if missing:
        lock = cache_root() / "lock"
        with locks.held(lock, "getting the same programs", report):
            _get(missing, report)
        found = _present(programs)
    return {name: str(path) for name, path in found.items()}


def _present(programs: Iterable[Program]) -> dict[str, Path]:
    found = {program.name: on_path(program) or in_cache(program) for program in programs}
    return {name: path for name, path in found.items() if path is not None}


def _get(missing: list[Program], report: Report) -> None:
    """Fill the cache: with downloads if the network allows, the rest with Go."""
    missing = [program for program in missing if in_cache(program) is None]
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    if missing and download.possible(report):
        for program in missing:
            try:
                download.fetch(program.name, program.version, target(), directory, report)
            except UnavailableError as error:
                report(f"{program.name} cannot be downloaded: {error.why}")
                break
    packages = {program.name: program.package for program in missing if in_cache(program) is None}
    if packages:
        build.build(packages, directory, cache_root(), report)
