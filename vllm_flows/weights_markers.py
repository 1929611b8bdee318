"""The markers on the volume of a weights Job: each promises a commit with all its files.

Part of the program that runs in the engine image: it uses the standard library alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vllm_flows.weights_blobs import CHECKED, Record, entries, read_json, remove, sync, write_json
from vllm_flows.weights_order import OURS, Order, TemporaryError


def repositories(order: Order) -> list[Path]:
    """List the folders of the volume's repositories; what a link leads to is not the volume's."""
    found = order.cache.glob("models--*")
    return [folder for folder in found if folder.is_dir() and not folder.is_symlink()]


def markers(folder: Path) -> list[Path]:
    """List a repository's markers."""
    return [path for path in entries(folder / OURS) if path.suffix == ".json"]


def forget(order: Order) -> None:
    """Take nothing on the volume for proven, once for each word of `recheck`: all is read again."""
    for folder in repositories(order) if order.recheck else ():
        ours, proven = folder / OURS, folder / OURS / CHECKED
        if ours.is_dir() and not ours.is_symlink() and read_json(proven).get("") != order.recheck:
            write_json(proven, {"": order.recheck})


def withdraw_markers(order: Order) -> None:
    """Remove markers that promise more than the volume holds, or another list of files."""
    for folder in repositories(order):
        record = Record(folder)
        for marker in markers(folder):
            other = marker == order.marker and read_json(marker) != order.manifest
            if other or not is_whole(marker, record):
                remove(marker)
                sync(marker.parent)


def is_whole(marker: Path, record: Record) -> bool:
    """Say whether every file of a marker is there under its name, its content found right."""
    folder, files = marker.parent.parent, read_json(marker).get("files", [])
    if not isinstance(files, list) or not all(_names_a_file(file) for file in files):
        return False
    names = [(file["name"], file["hash"]) for file in files]
    return bool(names) and all_there(folder, marker.stem, names, record)


def all_there(folder: Path, commit: str, names: Iterable[tuple[str, str]], record: Record) -> bool:
    """Say whether each name of a commit shows the blob of its hash, which was found right."""
    place = folder / "snapshots" / commit
    if place.is_symlink():
        return False
    for name, etag in names:
        blob = folder / "blobs" / etag
        if not record.knows(blob) or not (place / name).is_file():
            return False
        if not (place / name).samefile(blob):
            return False
    return True


def _names_a_file(entry: object) -> bool:
    """Say whether a marker's entry has the shape that this program writes."""
    return isinstance(entry, dict) and all(
        isinstance(entry.get(key), str) and entry[key] for key in ("name", "hash")
    )


def by_age(order: Order) -> list[str]:
    """Return the complete commits of the volume, those that were completed first in front."""
    found = [marker for folder in repositories(order) for marker in markers(folder)]
    return [marker.stem for marker in sorted(found, key=lambda marker: marker.stat().st_mtime_ns)]


def mark(order: Order, record: Record) -> None:
    """Write that the commit is complete, once every file is found under its name.

    Raises TemporaryError when one is not: somebody else writes to this volume.
    """
    names = [(file.name, file.etag) for file in order.files]
    if not all_there(order.folder, order.commit, names, record):
        raise TemporaryError("files changed on the volume while the commit was put together")
    write_json(order.marker, order.manifest)
