"""The program of the sandbox's Vault, built with Go from `server/` when it is first wanted.

It is kept in the cache of the sandbox's programs, in a folder named for the very sources it
was built from, so that another version of them is another program.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from sandbox import binaries, build, locks
from sandbox.progress import Report

SOURCES = Path(__file__).resolve().parent / "server"
_NAME = "vault-server"
_PACKAGE = "github.com/vllm-flows/vllm-flows/sandbox/vault/server"


def ensure(report: Report) -> Path:
    """Return the program, which is built when it is not there: two minutes, once per machine.

    Raises SandboxError when there is no Go to be had, or with Go's own last words.
    """
    directory = binaries.cache_root() / _folder(SOURCES)
    program = directory / _NAME
    if not program.is_file():
        with locks.held(binaries.cache_root() / "lock", "getting the same programs", report):
            if not program.is_file():
                directory.mkdir(parents=True, exist_ok=True)
                build.build({_NAME: _PACKAGE}, directory, binaries.cache_root(), report, SOURCES)
    return program


def _folder(sources: Path) -> str:
    """Return the name of the folder for what these sources make on this machine."""
    digest = hashlib.sha256()
    for file in sorted(sources.iterdir()):
        if file.suffix in {".go", ".mod", ".sum"}:
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return "_".join(["vault", digest.hexdigest()[:12], "-".join(binaries.target())])
