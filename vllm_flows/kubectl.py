"""The quick way to read many objects: the user's kubectl, a process of a twentieth of a second.

The kubernetes package takes five times that for its import alone, more than a read verb may last.
What kubectl cannot do, or is not there for, is left to `Cluster`, which explains what is wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from vllm_flows.settings import environment_for_others

Object = dict[str, Any]

_REQUEST_SECONDS = 5
_TIMEOUT_SECONDS = 20.0


def read_objects(
    kinds: Sequence[str], namespace: str, context: str = "", seconds: float = _TIMEOUT_SECONDS
) -> list[Object] | None:
    """Return all objects of these kinds (`deployments`, `pods`, …) of a namespace, unsorted.

    None when kubectl is not installed, fails for whatever reason, or does not end in time.
    """
    program = shutil.which("kubectl")
    if program is None:
        return None
    command = [program, "get", ",".join(kinds), "--namespace", namespace, "--output", "json"]
    command += ["--request-timeout", f"{_REQUEST_SECONDS}s"]
    command += ["--context", context] if context else []
    try:
        found: list[Object] = json.loads(_output(command, seconds))["items"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None
    return found


def _output(command: Sequence[str], seconds: float) -> bytes:
    """Return what a program prints. Raises SubprocessError when it fails or takes longer.

    A login program that hangs goes with it, and is asked nothing by way of the terminal. What that
    prints goes to a file: it would hold a pipe open, and is not for people.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            env=environment_for_others(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code:
            raise subprocess.CalledProcessError(code, command)
        output.seek(0)
        return output.read()
