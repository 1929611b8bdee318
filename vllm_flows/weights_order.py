"""What a weights Job is to do, from its environment, and the errors that it can end with. Pure.

Part of the program that runs in the engine image: it uses the standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

OURS = ".vllm-flows"
"""The folder of what this program writes, beside huggingface_hub's `blobs` and `snapshots`."""
PRUNE = "prune"
"""In place of a commit: nothing is fetched, and all goes but the commits to keep."""
_LONGEST_PART = 255
"""Bytes of one part of a path, on every common file system."""
MORE_ROOM = "give the model a larger pvcStorage"


class UnfixableError(Exception):
    """Trying again cannot help."""


class TemporaryError(Exception):
    """Trying again may help."""


@dataclass(frozen=True)
class File:
    """An entry of WEIGHTS_FILES."""

    name: str
    size: int
    sha256: str | None
    blob_id: str

    @property
    def etag(self) -> str:
        """The hash, by which huggingface_hub names the blob."""
        return self.sha256 or self.blob_id

    def hasher(self) -> Any:  # noqa: ANN401 -- hashlib's type has no public name
        """Return what computes `etag`: SHA-256, or git's own for a file that git itself holds."""
        if self.sha256:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)


@dataclass(frozen=True)
class Order:
    """What is to be on the volume in the end; see the module for the environment it comes from."""

    repository: str
    commit: str
    files: tuple[File, ...]
    cache: Path
    at_once: int = 1
    xet: bool = False
    keep: frozenset[str] = frozenset()
    before: str = ""
    budget: int = 0
    recheck: str = ""
    token: str = ""
    stall: float = 60.0
    wait: float = 1.0

    @property
    def unique(self) -> list[File]:
        """The files with different content, the largest first."""
        found = {file.etag: file for file in self.files}
        return sorted(found.values(), key=lambda file: -file.size)

    @property
    def total(self) -> int:
        """The bytes that the commit takes on the volume."""
        return sum(file.size for file in self.unique)

    @property
    def folder(self) -> Path:
        """Where huggingface_hub keeps the repository, of whatever commit."""
        return self.cache / f"models--{self.repository.replace('/', '--')}"

    @property
    def blobs(self) -> Path:
        """Where the content of files is, named by hash."""
        return self.folder / "blobs"

    @property
    def marker(self) -> Path:
        """The file that says that the commit is complete."""
        return self.folder / OURS / f"{self.commit}.json"

    @property
    def lock(self) -> Path:
        """The file that keeps a second program off the volume."""
        return self.cache / ".locks" / "vllm-flows.lock"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the marker says."""
        files = [{"name": each.name, "size": each.size, "hash": each.etag} for each in self.files]
        return {"commit": self.commit, "files": files}


def order_from(environ: Mapping[str, str]) -> Order:
    """Read the order; raise UnfixableError for a name or token that nothing good can come of."""
    files = tuple(File(**each) for each in json.loads(Path(environ["WEIGHTS_FILES"]).read_text()))
    names = {file.name for file in files}
    for file in files:
        if not file.etag:
            raise UnfixableError(
                f"{file.name}: the Hub lists no hash for it, so nothing can prove it"
            )
        clash = not names.isdisjoint(map(str, list(PurePosixPath(file.name).parents)[:-1]))
        if clash or not _is_name(file.name) or not re.fullmatch(r"[0-9a-f]{40,64}", file.etag):
            name = ascii(file.name)[1:-1]
            raise UnfixableError(f"{name}: no name or hash that a repository's file can have")
    token = environ.get("HF_TOKEN", "").strip()
    if not re.fullmatch(r"[!-~]*", token):
        raise UnfixableError("HF_TOKEN holds characters that no token has")
    return Order(
        repository=environ["WEIGHTS_REPOSITORY"],
        commit=environ["WEIGHTS_COMMIT"],
        files=files,
        cache=Path(environ["HF_HUB_CACHE"]),
        at_once=int(environ.get("WEIGHTS_AT_ONCE", "4")),
        xet=environ.get("WEIGHTS_XET") == "1",
        keep=frozenset(environ.get("WEIGHTS_KEEP", "").split()),
        before=environ.get("WEIGHTS_BEFORE", ""),
        budget=int(environ.get("WEIGHTS_BUDGET", "0")),
        recheck=environ.get("WEIGHTS_RECHECK", ""),
        token=token,
        stall=float(environ.get("WEIGHTS_STALL_SECONDS", "60")),
        wait=float(environ.get("WEIGHTS_RETRY_SECONDS", "1")),
    )


def _is_name(name: str) -> bool:
    """Say whether a file of that name can be in a repository and stays within a snapshot."""
    kinds = {unicodedata.category(letter) for letter in name}
    if kinds & {"Cc", "Cs"} or str(PurePosixPath(name)) != name or name in {".", ""}:
        return False
    parts = PurePosixPath(name).parts
    longest = max(len(part.encode()) for part in parts)
    return not name.startswith("/") and ".." not in parts and longest <= _LONGEST_PART
