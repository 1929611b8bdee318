"""Repositories with commits, branches and tags, kept as blobs in a folder.

Hashes are computed as git and git-lfs compute them, over simplified commit objects.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, get_args

from sandbox.hub.content import files_of, license_now
from sandbox.hub.samples import SAMPLES, Sample

ChangeKind = Literal[
    "weights", "docs", "config", "tokenizer", "template", "license", "pickle", "code", "reset"
]
"""What a commit changes; `reset` takes back the newest commit, as a forced push does."""
KINDS: tuple[str, ...] = get_args(ChangeKind)

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
    """One version of a repository; `license` is what its README names.

    `changes` counts what was changed up to it, `config` was merged into its config.json.
    """

    sha: str
    title: str
    date: datetime
    files: dict[str, File]
    license: str
    changes: Mapping[str, int]
    config: Mapping[str, object]


@dataclass
class Repository:
    """A sample with its history, oldest commit first; `config` was merged into its config.json.

    `gated` and `private` are what its owner has chosen since; neither is part of a commit.
    `begun`: so many commits are the sample's own.
    """

    sample: Sample
    commits: list[Commit] = field(default_factory=list)
    tags: dict[str, Commit] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)
    config: dict[str, object] = field(default_factory=dict)
    gated: str | bool = False
    private: bool = False
    begun: int = 1

    def __post_init__(self) -> None:
        """Begin with the sample's gate."""
        self.gated = self.sample.gated

    @property
    def head(self) -> Commit:
        """The newest commit of branch `main`."""
        return self.commits[-1]

    def take_back(self) -> Commit:
        """Forget the newest commit, but none of the sample's; return the newest of then."""
        return self._keep(len(self.commits) - 1)

    def rewind(self) -> Commit:
        """Forget all commits but the sample's; return the newest of these."""
        return self._keep(self.begun)

    def _keep(self, count: int) -> Commit:
        del self.commits[max(self.begun, count) :]
        self.versions, self.config = Counter(self.head.changes), dict(self.head.config)
        return self.head

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
        """Put a new commit on `main` that changes what `kind` says; return main's newest commit.

        `config` is merged into config.json; a key with None is taken out of it. Raises KeyError
        when there is no such repository.
        """
        commit = self._add(self.repositories[repo_id], kind, config or {})
        self._journal.write_text(json.dumps([*self._added(), [repo_id, kind, config or {}]]))
        return commit

    def rewind(self) -> None:
        """Take back every commit that was added, in every repository."""
        for repository in self.repositories.values():
            repository.rewind()
        self._journal.unlink(missing_ok=True)

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
        repository.begun = len(repository.commits)

    def _add(
        self, repository: Repository, kind: ChangeKind, config: Mapping[str, object]
    ) -> Commit:
        if kind == "reset":
            return repository.take_back()
        repository.versions[kind] += 1
        merged = {**repository.config, **config}
        repository.config = {key: value for key, value in merged.items() if value is not None}
        number = repository.versions[kind] + 1
        return self._commit(repository, f"Update {kind} to version {number}")

    def _commit(self, repository: Repository, title: str) -> Commit:
        content = files_of(repository.sample, repository.versions, repository.config)
        files = {path: self._store(path, data) for path, data in content.items()}
        parent = repository.commits[-1].sha if repository.commits else ""
        listing = "".join(f"{each.blob_id} {each.path}\n" for each in files.values())
        commit = Commit(
            sha=_sha1(f"{repository.sample.repo_id}\n{parent}\n{title}\n{listing}".encode()),
            title=title,
            date=_FIRST_COMMIT + timedelta(days=len(repository.commits)),
            files=files,
            license=license_now(repository.sample, repository.versions),
            changes=dict(repository.versions),
            config=dict(repository.config),
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
