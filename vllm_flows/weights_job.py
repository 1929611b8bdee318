"""The program of a weights Job: bring one commit of one repository to the volume.

It runs in the engine image, so it uses only Python and that image's huggingface_hub (any
version since 0.25), and nothing of this package. Files that are complete on the volume are kept;
one that was cut off begins anew (huggingface_hub does not take up another process's part). Its
words on stdout are `progress DONE TOTAL` in bytes; its last word, in the pod's termination
message, is JSON: `{"commit", "files", "bytes"}` or `{"error"}`.

Environment: WEIGHTS_REPOSITORY, WEIGHTS_COMMIT, WEIGHTS_FILES (path of a JSON file: a list of
`{"name", "size"}`), HF_HUB_CACHE, TERMINATION_LOG, and HF_TOKEN and HF_ENDPOINT where needed.
Exit code 0: complete. 3: trying again cannot help. 1: trying again may help.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from pathlib import Path

PERMANENT = 3
TEMPORARY = 1
PROGRESS_SECONDS = 1.0


class UnfixableError(Exception):
    """Trying again cannot help."""


def main() -> int:
    """Download, check, report; return the exit code."""
    repository, commit = os.environ["WEIGHTS_REPOSITORY"], os.environ["WEIGHTS_COMMIT"]
    files = json.loads(Path(os.environ["WEIGHTS_FILES"]).read_text())
    cache = Path(os.environ["HF_HUB_CACHE"])
    cache.mkdir(parents=True, exist_ok=True)
    total = sum(file["size"] for file in files)
    try:
        check_room(cache, repository, total)
        snapshot = download(repository, commit, files, cache, total)
        check_sizes(snapshot, files)
    except UnfixableError as error:
        report({"error": str(error)})
        return PERMANENT
    report({"commit": commit, "files": len(files), "bytes": total})
    return 0


def blobs(cache: Path, repository: str) -> Path:
    """Return the folder in which huggingface_hub keeps a repository's bytes."""
    return cache / f"models--{repository.replace('/', '--')}" / "blobs"


def bytes_present(cache: Path, repository: str) -> int:
    """Count the repository's bytes on the volume, partial files included."""
    folder = blobs(cache, repository)
    total = 0
    for path in folder.glob("*") if folder.is_dir() else ():
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # a partial file was just renamed
            continue
    return total


def check_room(cache: Path, repository: str, total: int) -> None:
    """Refuse before the first byte when the volume cannot hold what is missing."""
    missing = total - bytes_present(cache, repository)
    free = shutil.disk_usage(cache).free
    if missing > free:
        message = f"the volume has {free} bytes free and {missing} are still to come"
        raise UnfixableError(message)


def download(
    repository: str, commit: str, files: list[dict[str, object]], cache: Path, total: int
) -> Path:
    """Fetch the files with the image's huggingface_hub, saying how far it is every second."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    done = threading.Event()
    reporter = threading.Thread(target=say_progress, args=(done, cache, repository, total))
    reporter.start()
    try:
        return Path(
            snapshot_download(
                repository,
                revision=commit,
                cache_dir=cache,
                allow_patterns=[escaped(str(file["name"])) for file in files],
                token=os.environ.get("HF_TOKEN") or False,
            )
        )
    except GatedRepoError as error:
        message = f"the Hub refuses {repository} to this token"
        raise UnfixableError(message) from error
    except RepositoryNotFoundError as error:
        message = f"the Hub has no {repository}, or does not show it to this token"
        raise UnfixableError(message) from error
    finally:
        done.set()
        reporter.join()


def escaped(name: str) -> str:
    """Make a file name match only itself where huggingface_hub expects a pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def say_progress(done: threading.Event, cache: Path, repository: str, total: int) -> None:
    """Print `progress DONE TOTAL` when it changed, about once a second, until `done`."""
    said = -1
    while True:
        ended = done.wait(PROGRESS_SECONDS)
        present = min(bytes_present(cache, repository), total)
        if present != said:
            said = present
            print(f"progress {present} {total}", flush=True)  # noqa: T201 -- the Job's output
        if ended:
            return


def check_sizes(snapshot: Path, files: list[dict[str, object]]) -> None:
    """Compare each file's size with the Hub's list; remove a wrong one so a retry fetches it."""
    for file in files:
        path = snapshot / str(file["name"])
        size = path.stat().st_size if path.exists() else -1
        if size != file["size"]:
            if path.exists():
                path.resolve().unlink()
                path.unlink()
            message = f"{file['name']}: {size} bytes on the volume, {file['size']} on the Hub"
            raise RuntimeError(message)


def report(result: dict[str, object]) -> None:
    """Leave the result where Kubernetes keeps it with the pod, and on stdout."""
    text = json.dumps(result)
    Path(os.environ["TERMINATION_LOG"]).write_text(text)
    print(text, flush=True)  # noqa: T201 -- the Job's output


if __name__ == "__main__":
    sys.exit(main())
