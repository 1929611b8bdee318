"""The files of a weights Job by their content: what is proven, and what has come of each.

Part of the program that runs in the engine image: it uses the standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm_flows.weights_order import OURS, File

CHECKED = "checked"
_CHUNK = 1 << 20
WRITING = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
"""How to open what this program writes: no link is followed, no pipe waited for."""


def size_of(path: Path) -> int:
    """Return a file's own bytes, 0 when it is not there (a partial file may just be renamed)."""
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def entries(folder: Path) -> list[Path]:
    """List a folder; one that is not there, or is elsewhere behind a link, as empty."""
    return list(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def remove(path: Path) -> None:
    """Remove whatever is there, of a link the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def clear(path: Path) -> None:
    """Remove what is no regular file where this program has one.

    Through a link it would write out of the volume, and on a pipe it would wait for ever.
    """
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            remove(path)


def own_folder(folder: Path) -> None:
    """Make a folder, in place of a link or a file where one is."""
    if folder.is_symlink() or not folder.is_dir():
        remove(folder)
    folder.mkdir(parents=True, exist_ok=True)


def sync(path: Path) -> None:
    """Have a file, or a folder's names, outlast a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: object) -> None:
    """Put a JSON file in place, whole or not at all."""
    draft = path.with_suffix(".draft")
    remove(draft)  # a link would be written through
    clear(path)
    draft.write_text(json.dumps(value))
    sync(draft)
    draft.replace(path)
    sync(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; what is missing, broken or no regular file is empty."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return {}
        found = json.loads(path.read_text())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Record:
    """Which blobs of a repository were read and found right, and what each looked like then."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / OURS / CHECKED
        self._known = read_json(self._path)
        self._lock = threading.Lock()

    def knows(self, blob: Path) -> bool:
        """Say whether the blob is as it was when it was found right."""
        return (
            blob.is_file()
            and not blob.is_symlink()
            and self._known.get(blob.name) == self._look(blob)
        )

    def add(self, blob: Path) -> None:
        """Remember a blob that was found right."""
        with self._lock:
            self._known[blob.name] = self._look(blob)
            write_json(self._path, self._known)

    @staticmethod
    def _look(blob: Path) -> list[int]:
        state = blob.stat()
        return [state.st_size, state.st_mtime_ns, state.st_ino]


@dataclass
class Partial:
    """What is on the volume of one file, and the hash of it so far."""

    file: File
    blobs: Path
    position: int = 0
    fetched: int = 0
    hasher: Any = field(init=False)

    def __post_init__(self) -> None:
        self.hasher = self.file.hasher()

    @property
    def blob(self) -> Path:
        """Where the file is once it is whole and right."""
        return self.blobs / self.file.etag

    @property
    def path(self) -> Path:
        """Where it grows."""
        return self.blobs / f"{self.file.etag}.part"

    def restart(self) -> None:
        """Forget what is there."""
        self.position, self.hasher = 0, self.file.hasher()

    def read(self, source: Path) -> None:
        """Hash what an earlier attempt left."""
        self.restart()
        buffer = memoryview(bytearray(_CHUNK))
        with source.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                self.hasher.update(buffer[:count])
                self.position += count

    @contextlib.contextmanager
    def writing(self) -> Iterator[Callable[[bytes], None]]:
        """Yield what appends; what the file holds beyond `position` is cut off."""
        target = os.open(self.path, WRITING, 0o666)
        try:
            os.ftruncate(target, self.position)
            os.lseek(target, self.position, os.SEEK_SET)
            yield lambda chunk: self._append(target, chunk)
        finally:
            os.close(target)

    def _append(self, target: int, chunk: bytes) -> None:
        """Write and hash what came, but no more than the file's size."""
        rest = taken = memoryview(chunk)[: self.file.size - self.position]
        while rest:
            rest = rest[os.write(target, rest) :]
        self.hasher.update(taken)
        self.position += len(taken)
        self.fetched += len(taken)

    def adopt(self, whole: Path) -> None:
        """Take up a file that somebody else fetched."""
        whole.replace(self.path)
        self.read(self.path)
        self.fetched += self.position

    def keep(self, source: Path, record: Record) -> bool:
        """Make a whole file the blob it should be; remove it when its hash is wrong."""
        if self.hasher.hexdigest() != self.file.etag:
            source.unlink()
            self.restart()
            return False
        sync(source)
        source.replace(self.blob)
        record.add(self.blob)
        return True

    def check(self, record: Record) -> None:
        """Take up what is there: a whole file is kept, a shorter one is where to go on."""
        for path in (self.blob, self.path):
            clear(path)
        source = self.blob if self.blob.exists() else self.path
        if not source.exists():
            return
        if size_of(source) > self.file.size:
            source.unlink()
            return
        self.read(source)
        if self.position == self.file.size:
            self.keep(source, record)
        else:
            source.replace(self.path)
