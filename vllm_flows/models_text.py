"""The text of models.yaml, within bounds; nothing here needs the schema."""

from __future__ import annotations

import shlex
from pathlib import Path

from vllm_flows.errors import ModelsFileError
from vllm_flows.regular_file import read_beginning
from vllm_flows.yaml_text import SIZE_LIMIT

EXAMPLE = "models.example.yaml"


def read_text(path: Path) -> str:
    """Return the text of the file at `path`, without a byte order mark.

    Raises ModelsFileError when it is not there, cannot be opened, is no regular file, is larger
    than 1 MiB or is not UTF-8.
    """
    try:
        data = read_beginning(path, SIZE_LIMIT)
        size = path.stat().st_size
    except FileNotFoundError:
        raise ModelsFileError(f"{path} does not exist", next_command=_beginning(path)) from None
    except OSError as error:
        raise ModelsFileError(
            f"{path} cannot be read",
            why=error.strerror or type(error).__name__,
            next_command=f"ls -ld {shlex.quote(str(path))}",
        ) from None
    return decoded(data, path, size)


def _beginning(path: Path) -> str:
    copied = f"   (or: cp {EXAMPLE} {shlex.quote(str(path))})" if Path(EXAMPLE).exists() else ""
    return f"vllm-flows add-model{copied}"


def decoded(data: bytes, path: Path, size: int = 0) -> str:
    """Return the text of bytes of the file at `path`, without a byte order mark.

    `size` is that of the whole file, where `data` may be its beginning. Raises ModelsFileError
    when it is larger than 1 MiB or is not UTF-8.
    """
    again = f"vllm-flows validate {shlex.quote(str(path))}"
    if len(data) > SIZE_LIMIT:
        raise ModelsFileError(
            f"{path} is too large",
            why=f"it holds {max(size, len(data)) / SIZE_LIMIT:.1f} MiB; at most 1 MiB is read",
            next_command=f"keep the list of models alone in it, then run: {again}",
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ModelsFileError(
            f"{path} is not UTF-8 text",
            why=f"line {line} holds the byte 0x{data[error.start]:02x}",
            next_command=f"save it as UTF-8, then run: {again}",
        ) from None
