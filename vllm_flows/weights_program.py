"""The program of the weights Jobs as one file: a Python archive that `python3` runs as it is.

It holds the `weights_*` modules below under their own names, so that the same code is imported by
tests and run in the engine image. It needs that image's huggingface_hub and nothing else.
"""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

PROGRAM_NAME = "weights.pyz"
MODULES = (
    "weights_order",
    "weights_redaction",
    "weights_blobs",
    "weights_patience",
    "weights_connections",
    "weights_markers",
    "weights_volume",
    "weights_download",
    "weights_job",
    "weights_inspection",
)

# Not sys.exit: after a failure it would wait for the files that are still being fetched.
_START = """import os

if "WEIGHTS_VOLUMES" in os.environ:
    from vllm_flows.weights_inspection import main
else:
    from vllm_flows.weights_job import main

code = 1
try:
    code = main()
finally:
    os._exit(code)
"""
_ALWAYS_THE_SAME = (1980, 1, 1, 0, 0, 0)
"""The date of every entry: equal code makes equal bytes."""


@cache
def weights_archive() -> bytes:
    """Return the archive: some kilobytes, far below the mebibyte that a ConfigMap holds."""
    package = Path(__file__).parent
    entries = {"__main__.py": _START, "vllm_flows/__init__.py": ""}
    entries |= {
        f"vllm_flows/{name}.py": (package / f"{name}.py").read_text(encoding="utf-8")
        for name in MODULES
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries.items():
            archive.writestr(zipfile.ZipInfo(name, _ALWAYS_THE_SAME), text)
    return buffer.getvalue()
