"""Python programs that a test starts and sends signals."""

from __future__ import annotations

import subprocess
import sys

from tests.support import as_on_a_terminal


def working(code: str, word: str) -> subprocess.Popen[str]:
    """Start a program that Ctrl-C reaches, and return it once it has said this word."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=sys.path[0] or None,
        preexec_fn=as_on_a_terminal,  # noqa: PLW1509 -- no thread runs
    )
    assert process.stdout
    assert process.stdout.readline() == f"{word}\n"
    return process
