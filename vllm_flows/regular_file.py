"""The beginning of a regular file. A pipe could be waited for without end, a device read so."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_beginning(path: Path, limit: int) -> bytes:
    """Return at most `limit` bytes of the file at `path` and one, which tells of more.

    Raises OSError, also for what is no regular file; nothing of that is opened.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    with path.open("rb") as file:
        return file.read(limit + 1)
