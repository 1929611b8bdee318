"""The Hub's JSON documents about a repository, as pure functions of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sandbox.hub.repository import Commit, File, Repository, lfs_pointer

Document = dict[str, object]


def model_info(
    repository: Repository, commit: Commit, *, files: bool, security: bool, expand: list[str]
) -> Document:
    """Return what `GET /api/models/ID[/revision/REVISION]` answers.

    With `expand` only the named properties are there, beside the ids.
    """
    sample = repository.sample
    formats = ["safetensors"] if sample.parameters else []
    document: Document = {
        "_id": "0" * 24,
        "id": sample.repo_id,
        "modelId": sample.repo_id,
        "author": sample.repo_id.split("/")[0],
        "sha": commit.sha,
        "createdAt": _timestamp(repository.commits[0].date),
        "lastModified": _timestamp(commit.date),
        "private": repository.private,
        "gated": repository.gated,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["transformers", *formats, "text-generation", f"license:{commit.license}"],
        "cardData": {"license": commit.license, "library_name": "transformers"},
        "config": {key: sample.config[key] for key in ("architectures", "model_type")},
        "siblings": [_sibling(each, files=files) for each in commit.files.values()],
        "usedStorage": _used_storage(repository.commits),
        "spaces": [],
    }
    if sample.parameters:
        total = sum(sample.parameters.values())
        document["safetensors"] = {"parameters": sample.parameters, "total": total}
    if security or "securityRepoStatus" in expand:
        issues = [{"path": path, "level": level} for path, level in sample.unsafe.items()]
        document["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": issues}
    if expand:
        return {key: document[key] for key in ("_id", "id", *expand) if key in document}
    return document


def search(repositories: Iterable[Repository], text: str) -> list[Document]:
    """Return what `GET /api/models?search=TEXT` answers; upper and lower case are the same."""
    keys = ("_id", "id", "modelId", "private", "downloads", "likes", "tags", "createdAt")
    infos = [
        model_info(repository, repository.head, files=False, security=False, expand=[])
        for repository in repositories
        if text.lower() in repository.sample.repo_id.lower()
    ]
    return [{key: info[key] for key in keys} for info in infos]


def tree(commit: Commit, folder: str) -> list[Document]:
    """Return what `GET .../tree/REVISION/FOLDER` answers; the samples have no folders."""
    return [] if folder.strip("/") else [_tree_entry(each) for each in commit.files.values()]


def paths_info(commit: Commit, paths: Iterable[str]) -> list[Document]:
    """Return what `POST .../paths-info/REVISION` answers: the paths that are there."""
    return [_tree_entry(commit.files[path]) for path in paths if path in commit.files]


def commits(repository: Repository, newest: Commit) -> list[Document]:
    """Return what `GET .../commits/REVISION` answers, newest first."""
    until = repository.commits.index(newest) + 1
    return [
        {
            "id": each.sha,
            "title": each.title,
            "message": "",
            "authors": [{"user": "sandbox"}],
            "date": _timestamp(each.date),
        }
        for each in reversed(repository.commits[:until])
    ]


def refs(repository: Repository) -> Document:
    """Return what `GET .../refs` answers."""
    return {
        "branches": [
            {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.head.sha}
        ],
        "tags": [
            {"name": name, "ref": f"refs/tags/{name}", "targetCommit": commit.sha}
            for name, commit in repository.tags.items()
        ],
        "converts": [],
        "pullRequests": [],
    }


def _used_storage(history: Iterable[Commit]) -> int:
    large = {
        each.sha256: each.size
        for commit in history
        for each in commit.files.values()
        if each.sha256
    }
    return sum(large.values())


def _sibling(file: File, *, files: bool) -> Document:
    if not files:
        return {"rfilename": file.path}
    document: Document = {"rfilename": file.path, "size": file.size, "blobId": file.blob_id}
    if file.sha256:
        document["lfs"] = {
            "sha256": file.sha256,
            "size": file.size,
            "pointerSize": len(lfs_pointer(file.sha256, file.size)),
        }
    return document


def _tree_entry(file: File) -> Document:
    document: Document = {
        "type": "file",
        "path": file.path,
        "size": file.size,
        "oid": file.blob_id,
    }
    if file.sha256:
        document["lfs"] = {
            "oid": file.sha256,
            "size": file.size,
            "pointerSize": len(lfs_pointer(file.sha256, file.size)),
        }
    return document


def _timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
