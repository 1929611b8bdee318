"""Repositories with commits, branches and tags, kept as blobs in a folder.

Hashes are computed as git and git-lfs compute them, over simplified commit objects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from sandbox.hub.content import files_of
from sandbox.hub.samples import SAMPLES, Sample

ChangeKind = Literal["weights", "docs", "config"]

_FIRST_COMMIT = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
_SHORTEST_SHA = 7


@dataclass(frozen=True)
class File:
    """A file of one commit. `sha256` is set for files in large file storage."""

    path: str
    size: int
    blob_id: str
    sha256: str | None
    location: Path

    @property
    def etag(self) -> str:
        """What the Hub sends as the file's ETag, without the quotation marks."""
        return self.sha256 or self.blob_id


@dataclass(frozen=True)
class Commit:
    """One version of a repository."""

    sha: str
    title: str
    date: datetime
    files: dict[str, File]


@dataclass
class Repository:
    """A sample with its history, oldest commit first; `config` was merged into its config.json."""

    sample: Sample
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, Commit] = field(default_factory=dict)
    versions: dict[ChangeKind, int] = field(
        default_factory=lambda: {"weights": 1, "docs": 1, "config": 1}
    )
    config: dict[str, object] = field(default_factory=dict)

    @property
    def head(self) -> Commit:
        """The newest commit of branch `main`."""
        return self.commits[-1]

    def find(self, revision: str) -> Commit | None:
        """Return the commit that a branch, tag, full or shortened hash names, or None."""
        if revision in {"main", "refs/heads/main", "HEAD"}:
            return self.head
        if revision in self.tags:
            return self.tags[revision]
        if len(revision) < _SHORTEST_SHA:
            return None
        return next((each for each in self.commits if each.sha.startswith(revision)), None)


class Store:
    """Every repository of the Hub, below one folder.

    Commits added while it runs are written to `commits.json` there and made again on the
    next start, so a restarted Hub still knows the hash that a cluster serves.
    """

    def __init__(self, folder: Path, samples: Iterable[Sample] = SAMPLES) -> None:
        self._blobs = folder / "blobs"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._journal = folder / "commits.json"
        self.repositories: dict[str, Repository] = {}
        for sample in samples:
            self._create(sample)
        for repo_id, kind, config in self._added():
            self._add(self.repositories[repo_id], kind, config)

    def add_commit(
        self, repo_id: str, kind: ChangeKind, config: Mapping[str, object] | None = None
    ) -> Commit:
        """Put a new commit on `main` that changes the weights, the documentation or config.json.

        `config` is merged into the latter; a key with None is taken out of it. Raises KeyError
        when there is no such repository.
        """
        commit = self._add(self.repositories[repo_id], kind, config or {})
        self._journal.write_text(json.dumps([*self._added(), [repo_id, kind, config or {}]]))
        return commit

    def _added(self) -> list[tuple[str, ChangeKind, dict[str, object]]]:
        if not self._journal.exists():
            return []
        added = json.loads(self._journal.read_text())
        # Commits that change no configuration may have been written without one.
        return [(repo_id, kind, dict(*config)) for repo_id, kind, *config in added]

    def _create(self, sample: Sample) -> None:
        repository = Repository(sample)
        self.repositories[sample.repo_id] = repository
        self._commit(repository, "Initial commit")
        if sample.tagged:
            repository.tags[sample.tagged] = repository.head
            self._add(repository, "weights", {})

    def _add(
        self, repository: Repository, kind: ChangeKind, config: Mapping[str, object]
    ) -> Commit:
        repository.versions[kind] += 1
        merged = {**repository.config, **config}
        repository.config = {key: value for key, value in merged.items() if value is not None}
        return self._commit(repository, f"Update {kind} to version {repository.versions[kind]}")

    def _commit(self, repository: Repository, title: str) -> Commit:
        versions = repository.versions
        content = files_of(
            repository.sample,
            weights=versions["weights"],
            docs=versions["docs"],
            config=repository.config,
        )
        files = {path: self._store(path, data) for path, data in content.items()}
        parent = repository.commits[-1].sha if repository.commits else ""
        listing = "".join(f"{each.blob_id} {each.path}\n" for each in files.values())
        commit = Commit(
            sha=_sha1(f"{repository.sample.repo_id}\n{parent}\n{title}\n{listing}".encode()),
            title=title,
            date=_FIRST_COMMIT + timedelta(days=len(repository.commits)),
            files=files,
        )
        repository.commits.append(commit)
        return commit

    def _store(self, path: str, data: bytes) -> File:
        sha256 = hashlib.sha256(data).hexdigest()
        location = self._blobs / sha256
        if not location.exists() or location.stat().st_size != len(data):
            location.write_bytes(data)
        if not path.endswith((".safetensors", ".bin")):
            return File(path, len(data), _git_blob(data), None, location)
        return File(path, len(data), _git_blob(lfs_pointer(sha256, len(data))), sha256, location)


def lfs_pointer(sha256: str, size: int) -> bytes:
    """Return the small text that git keeps in place of a large file."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return text.encode()


def _git_blob(data: bytes) -> str:
    return _sha1(b"blob %d\0" % len(data) + data)


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
