"""The quick way to read many objects: the user's kubectl, a process of a twentieth of a second.

The kubernetes package takes five times that for its import alone, more than a read verb may last.
What kubectl cannot do, or is not there for, is left to `Cluster`, which explains what is wrong; but
for a login program that does not end: who waits for that once has waited enough.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

from vllm_flows import exec_plugin
from vllm_flows.children import started
from vllm_flows.environments import environment_for_others

Object = dict[str, Any]

_REQUEST_SECONDS = 5
_TIMEOUT_SECONDS = 20.0
_LONGEST_BYTES = 1 << 20
_NO_ANSWER = b"server API group list"
"""In client-go's words when the API does not answer (memcache.go, 1.26 to 1.36)."""


def read_objects(
    kinds: Sequence[str], namespace: str, context: str = "", seconds: float = _TIMEOUT_SECONDS
) -> list[Object] | None:
    """Return all objects of these kinds (`deployments`, `pods`, …) of a namespace, unsorted.

    None when kubectl is not installed, fails for whatever reason, or does not end in time. Raises
    ClusterError when it is a login program that does not end.
    """
    program = shutil.which("kubectl")
    if program is None:
        return None
    command = [program, "get", ",".join(kinds), "--namespace", namespace, "--output", "json"]
    command += ["--request-timeout", f"{_REQUEST_SECONDS}s"]
    command += ["--context", context] if context else []
    try:
        found: list[Object] = json.loads(_output(command, context, seconds))["items"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None
    return found


def _output(command: Sequence[str], context: str, seconds: float) -> bytes:
    """Return what a program prints. Raises SubprocessError when it fails or takes longer.

    A login program that hangs goes with it, and is asked nothing by way of the terminal.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        with started(command, environment_for_others(os.environ), output, errors) as process:
            code = _ended(process, context, seconds, errors)
        if code:
            raise subprocess.CalledProcessError(code, command)
        output.seek(0)
        return output.read()


def _ended(
    process: subprocess.Popen[bytes], context: str, seconds: float, errors: IO[bytes]
) -> int:
    """Return its exit code; one that waits for a login program has as long as that has."""
    longest, what = exec_plugin.SECONDS, "an answer of the API, or for"
    code = exec_plugin.ended(process, seconds, lambda: _login_program(context), what, longest)
    if code is not None:
        return code
    program = _login_program(context)
    if not program or _is_logged_in(errors):
        raise subprocess.TimeoutExpired(process.args, seconds)
    with suppress(subprocess.TimeoutExpired):
        return process.wait(longest - seconds)
    raise exec_plugin.not_ended(program, longest, errors)


def _is_logged_in(errors: IO[bytes]) -> bool:
    """Say whether it complains of the API, which it asks once it has a login."""
    # Not by seek: that would move where the other process writes.
    return _NO_ANSWER in os.pread(errors.fileno(), _LONGEST_BYTES, 0)


def _login_program(context: str) -> str:
    from vllm_flows.kubeconfig import login_program  # which takes as long as all of this

    return login_program(context)
