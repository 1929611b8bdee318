"""The quick way to read many objects: the user's kubectl, a process of a twentieth of a second.

The kubernetes package takes five times that for its import alone, more than a read verb may last.
What kubectl cannot do, or is not there for, is left to `Cluster`, which explains what is wrong.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

Object = dict[str, Any]

_REQUEST_SECONDS = 5
_TIMEOUT_SECONDS = 20.0


def read_objects(kinds: Sequence[str], namespace: str, context: str = "") -> list[Object] | None:
    """Return all objects of these kinds (`deployments`, `pods`, …) of a namespace, unsorted.

    None when kubectl is not installed or fails, for whatever reason.
    """
    program = shutil.which("kubectl")
    if program is None:
        return None
    command = [program, "get", ",".join(kinds), "--namespace", namespace, "--output", "json"]
    command += ["--request-timeout", f"{_REQUEST_SECONDS}s"]
    command += ["--context", context] if context else []
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=True)
        found: list[Object] = json.loads(done.stdout)["items"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None
    return found
