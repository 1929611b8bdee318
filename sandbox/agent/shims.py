"""The programs that engine images provide, as small scripts in the sandbox's `bin` folder."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

REAL_VLLM_VARIABLE = "VLLM_SANDBOX_REAL_VLLM"
"""With the value 1 the `vllm` on PATH is run, where there is one, in place of the simulated."""


def write(folder: Path, environment: Mapping[str, str]) -> None:
    """Write the scripts `vllm`, `python3` and `python` to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    python = shlex.quote(sys.executable)
    engine = f"PYTHONPATH={shlex.quote(str(REPOSITORY))} exec {python} -m sandbox.engine"
    real = shutil.which("vllm", path=environment.get("PATH"))
    if environment.get(REAL_VLLM_VARIABLE) == "1" and real:
        engine = f"exec {shlex.quote(real)}"
    for name, command in {
        "vllm": engine,
        "python3": f"exec {python}",
        "python": f"exec {python}",
    }.items():
        script = folder / name
        script.unlink(missing_ok=True)
        script.write_text(f'#!/bin/sh\n{command} "$@"\n')
        script.chmod(0o755)
