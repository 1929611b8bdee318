"""The volume of a weights Job: which blobs are proven, which commits complete, what must go.

Part of the program that runs in the engine image: it uses the standard library alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vllm_flows.weights_blobs import WRITING, clear, entries, own_folder, remove, size_of, sync
from vllm_flows.weights_markers import by_age, markers, repositories, withdraw_markers
from vllm_flows.weights_order import MORE_ROOM, Order, TemporaryError, UnfixableError

_OLDER = 6
"""Older revisions that may stay: the claim's annotation names the files of each."""

_LASTING = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EOPNOTSUPP, errno.EFBIG, errno.ENAMETOOLONG}
)
"""What another try meets again."""


def present(order: Order) -> int:
    """Count the commit's bytes that are on the volume, those of partial files included."""
    sizes: dict[str, int] = {}
    for path in entries(order.blobs):
        etag = path.name.partition(".")[0]
        sizes[etag] = max(sizes.get(etag, 0), size_of(path))
    return sum(min(file.size, sizes.get(file.etag, 0)) for file in order.unique)


def refused_by_volume(error: OSError, order: Order) -> UnfixableError | TemporaryError:
    """Say in plain words what the volume's file system does not do."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        missing = order.total - present(order)
        return UnfixableError(f"the volume is full and {missing} bytes are missing; {MORE_ROOM}")
    words = f"the volume: {error.strerror or error} ({error.filename or order.folder})"
    return UnfixableError(words) if error.errno in _LASTING else TemporaryError(words)


def prepare(order: Order) -> None:
    """Make the folders; a link in place of one would lead out of the volume."""
    for folder in (order.folder, order.blobs, order.folder / "snapshots", order.marker.parent):
        own_folder(folder)
    own_folder(order.cache / ".locks")
    snapshot = order.folder / "snapshots" / order.commit
    if snapshot.is_symlink():
        snapshot.unlink()


@contextlib.contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Keep a second program off the volume; one that was killed holds nothing."""
    clear(path)
    with os.fdopen(os.open(path, WRITING, 0o666), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TemporaryError("another weights program is at work on this volume") from None
        except OSError:  # not every network file system has locks
            pass
        yield


def tidy(order: Order) -> dict[str, Any]:
    """Remove every revision but those to keep, of all repositories; return what to report."""
    own_folder(order.cache / ".locks")
    with sole_writer(order.lock):
        before = used(order)
        withdraw_markers(order)
        remove_others(order, order.keep)
        return {"freed": before - used(order), "complete": sorted(by_age(order))}


def prune(order: Order) -> None:
    """Remove revisions that are incomplete, and for room others: the oldest first.

    The one served before goes last, those that run and the ordered one never. Without a budget
    no older ones stay. Raises UnfixableError, before anything is removed when no removal helps.
    """
    check_room(order)
    remove_unlisted(order)
    needed = order.keep | {order.commit}
    older = [commit for commit in by_age(order) if commit not in needed | {order.before}]
    spare = [*older[-_OLDER:], order.before] if order.budget else [order.before]
    kept = needed | set(spare)
    remove_others(order, kept)
    for commit in spare:
        if has_room(order):
            break
        kept -= {commit} - needed
        remove_others(order, kept)
    missing, free = order.total - present(order), shutil.disk_usage(order.cache).free
    if missing > free:
        raise UnfixableError(
            f"the volume has {free} bytes free and {missing} are still to come; {MORE_ROOM}"
        )


def check_room(order: Order) -> None:
    """Raise UnfixableError when the commit does not fit even beside what runs alone."""
    needed = order.keep | {order.commit}
    gone = sum(
        size_of(blob) for folder in repositories(order) for blob in unnamed(folder, order, needed)
    )
    room = shutil.disk_usage(order.cache).free + gone
    if order.budget:
        room = min(room, order.budget - (used(order) - gone))
    missing = order.total - present(order)
    if missing > max(room, 0):
        raise UnfixableError(
            f"the volume has {max(room, 0)} bytes of room and {missing} are still to come; "
            f"{MORE_ROOM}"
        )


def used(order: Order) -> int:
    """Return the bytes of all blobs on the volume."""
    return sum(size_of(path) for each in repositories(order) for path in entries(each / "blobs"))


def has_room(order: Order) -> bool:
    """Say whether disk and budget hold what is there and what is still to come, if anything is."""
    missing = order.total - present(order)
    within = not order.budget or used(order) + missing <= order.budget
    return not missing or (within and missing <= shutil.disk_usage(order.cache).free)


def remove_others(order: Order, needed: Iterable[str]) -> None:
    """Remove all revisions but the `needed` ones: markers first, blobs that nothing names last."""
    needed = frozenset(needed)
    for folder in repositories(order):
        for marker in markers(folder):
            if marker.stem not in needed:
                remove(marker)
                sync(marker.parent)
        for snapshot in entries(folder / "snapshots"):
            if snapshot.name not in needed:
                remove(snapshot)
        if folder != order.folder and not entries(folder / "snapshots"):
            remove(folder)
        for blob in unnamed(folder, order, needed):
            remove(blob)


def unnamed(folder: Path, order: Order, needed: frozenset[str]) -> list[Path]:
    """List a repository's blobs that are no file of the order or of another `needed` revision."""
    named = {
        link.readlink().name
        for commit in (needed if order.commit in order.keep else needed - {order.commit})
        for link in (folder / "snapshots" / commit).glob("**/*")
        if link.is_symlink()
    }
    if folder == order.folder:
        named |= {f"{file.etag}{end}" for file in order.files for end in ("", ".part")}
    return [blob for blob in entries(folder / "blobs") if blob.name not in named]


def remove_unlisted(order: Order) -> None:
    """Remove from the commit's snapshot what an earlier, longer list of files left there.

    All stays while an engine runs on it, which may still open any of these files by name.
    """
    if order.commit in order.keep:
        return
    snapshot = order.folder / "snapshots" / order.commit
    listed = {snapshot / file.name for file in order.files}
    for path in sorted(snapshot.rglob("*"), reverse=True):  # what a folder holds before the folder
        if path.is_dir() and not path.is_symlink():
            if not entries(path):
                path.rmdir()
        elif path not in listed:
            path.unlink()


def link(order: Order) -> None:
    """Show every blob under its file's name, as huggingface_hub does: by a relative link."""
    for file in order.files:
        place = order.folder / "snapshots" / order.commit / file.name
        for folder in reversed(place.parents[: len(Path(file.name).parts)]):
            own_folder(folder)
        draft = order.marker.with_suffix(".link")
        remove(draft)
        draft.symlink_to(os.path.relpath(order.blobs / file.etag, place.parent))
        draft.replace(place)
        sync(place.parent)
    for folder in (order.blobs, order.folder / "snapshots", order.folder):
        sync(folder)
