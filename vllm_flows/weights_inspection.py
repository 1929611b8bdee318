"""The program that looks at the weights volumes of one node, and changes nothing on them.

Part of the program that runs in the engine image: it uses the standard library alone.

Environment: WEIGHTS_VOLUMES, the path of JSON: `deep` (read the files, and compare their hashes),
`pace` (bytes per second that are read at most) and `volumes`, a list of `model` and `commits`: for
each commit the first digits of its files' hashes, with their sizes in bytes; WEIGHTS_CACHES, the
Hub caches of these volumes in their order, with a colon between them. On stdout a line
`volume {...}` for each: `model`, `used` (bytes of the files), `total` and `free` (of the file
system), `broken` (the first few: `file`, `how`), `count` (of all that are broken), and `error` when
it could not be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_flows.weights_blobs import entries, size_of

VOLUMES = "WEIGHTS_VOLUMES"
CACHES = "WEIGHTS_CACHES"
LINE = "volume "
_SHOWN = 3
_CHUNK = 1 << 20
_SHA256_DIGITS = 64
_LEAST_PRIORITY = 19
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass
class Pace:
    """Reads no faster than so many bytes per second: engines load from the same disk."""

    rate: int
    sleep: Callable[[float], None] = time.sleep

    def wait(self, count: int) -> None:
        """Let the time pass that reading so many bytes may take."""
        if self.rate:
            self.sleep(count / self.rate)


def main() -> int:
    """Look at all volumes, tell of each, return the exit code."""
    with contextlib.suppress(OSError):
        os.nice(_LEAST_PRIORITY)
    order = json.loads(Path(os.environ[VOLUMES]).read_text())
    caches = map(Path, os.environ[CACHES].split(":"))
    for volume, cache in zip(order["volumes"], caches, strict=True):
        told = inspected(volume, cache, Pace(int(order["pace"])), deep=bool(order["deep"]))
        print(LINE + json.dumps(told), flush=True)  # noqa: T201 -- the Job's output
    return 0


def inspected(volume: dict[str, Any], cache: Path, pace: Pace, *, deep: bool) -> dict[str, Any]:
    """Return what one volume is like."""
    told = {"model": volume["model"], "error": ""}
    try:
        disk = shutil.disk_usage(cache if cache.is_dir() else cache.parent)
        broken = [
            {"file": name, "how": how}
            for commit, files in volume["commits"].items()
            for name, how in _broken(cache, commit, files, pace, deep=deep)
        ]
        folders = [folder for folder in cache.glob("models--*") if not folder.is_symlink()]
        used = sum(size_of(blob) for each in folders for blob in entries(each / "blobs"))
    except OSError as error:
        return {**told, "error": f"{error.strerror or error} ({error.filename or cache})"}
    sizes = {"used": used, "total": disk.total, "free": disk.free}
    return {**told, **sizes, "broken": broken[:_SHOWN], "count": len(broken)}


def _broken(
    cache: Path, commit: str, files: dict[str, int], pace: Pace, *, deep: bool
) -> Iterator[tuple[str, str]]:
    """Yield the files of a commit that are not as they were fetched, and how they are."""
    blobs = {
        blob.name: blob
        for folder in cache.glob("models--*")
        for blob in entries(folder / "blobs")
        if not blob.name.endswith(".part")
    }
    names = _names(cache, commit)
    for begin, size in sorted(files.items()):
        etag = next((name for name in blobs if name.startswith(begin)), "")
        shown = next((path for name, path in names.items() if name.startswith(begin)), "")
        if not etag or not shown:
            yield shown or begin, "is missing" if not etag else "is not linked"
        elif size_of(blobs[etag]) != size:
            yield shown, f"has {size_of(blobs[etag])} bytes and should have {size}"
        elif deep and _hash(blobs[etag], etag, size, pace) != etag:
            yield shown, "has another content than was fetched"


def _names(cache: Path, commit: str) -> dict[str, str]:
    """Return by blob the name of a commit's file, as the engine opens it."""
    return {
        link.readlink().name: str(link.relative_to(snapshot))
        for snapshot in cache.glob(f"models--*/snapshots/{commit}")
        for link in snapshot.rglob("*")
        if link.is_symlink()
    }


def _hash(blob: Path, etag: str, size: int, pace: Pace) -> str:
    """Read a file; its pages are given back at once, as others need them more."""
    hasher = (
        hashlib.sha256()
        if len(etag) == _SHA256_DIGITS
        else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    )
    handle = os.open(blob, _READING)
    try:
        position = 0
        while chunk := os.read(handle, _CHUNK):
            hasher.update(chunk)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(handle, position, len(chunk), os.POSIX_FADV_DONTNEED)
            position += len(chunk)
            pace.wait(len(chunk))
    finally:
        os.close(handle)
    return hasher.hexdigest()
