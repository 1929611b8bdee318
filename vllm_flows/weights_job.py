"""The program of a weights Job: bring one commit of one repository to the volume.

It runs in the engine image, so it uses only Python and that image's huggingface_hub (any
version since 0.25), and nothing of this package. Files that are complete on the volume are kept;
whether one that was cut off goes on or begins anew is huggingface_hub's decision. Its words on
stdout are `progress DONE TOTAL` in bytes of this commit; its last word, in the pod's termination
message, is JSON: `{"commit", "files", "bytes"}` or `{"error"}`.

Environment: WEIGHTS_REPOSITORY, WEIGHTS_COMMIT, WEIGHTS_FILES (path of a JSON file: a list of
`{"name", "size", "sha256"}`; the hash is null for a small file that git itself holds),
HF_HUB_CACHE, TERMINATION_LOG, and HF_TOKEN and HF_ENDPOINT where needed.
Exit code 0: complete. 3: trying again cannot help. 1: trying again may help.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PERMANENT = 3
TEMPORARY = 1
PROGRESS_SECONDS = 1.0

_LONGEST_TEXT = 1000
"""Characters. Kubernetes keeps 4096 bytes of a termination message."""

_ABANDONED = re.compile(r"\.[0-9a-f]{8}\.incomplete")
"""How huggingface_hub since 1.18 ends the name of a partial file: with a random part, so no other
process goes on with it. Older versions write `<hash>.incomplete` and do go on."""


class UnfixableError(Exception):
    """Trying again cannot help."""


class TemporaryError(Exception):
    """Trying again may help."""


@dataclass(frozen=True)
class Order:
    """What is to be on the volume in the end: the files of one commit, in huggingface_hub's layout.

    `files` are the entries of WEIGHTS_FILES, `cache` is HF_HUB_CACHE.
    """

    repository: str
    commit: str
    files: list[dict[str, Any]]
    cache: Path

    @property
    def total(self) -> int:
        """The commit's bytes."""
        return sum(file["size"] for file in self.files)

    @property
    def folder(self) -> Path:
        """Where huggingface_hub keeps the repository, of whatever commit."""
        return self.cache / f"models--{self.repository.replace('/', '--')}"

    @property
    def snapshot(self) -> Path:
        """Where huggingface_hub shows the commit's files under their names."""
        return self.folder / "snapshots" / self.commit

    def present(self) -> int:
        """Count the commit's bytes that are on the volume, those of partial files included."""
        return sum(
            min(file["size"], max(self._sizes(file["name"], file.get("sha256"))))
            for file in self.files
        )

    def _sizes(self, name: str, sha256: str | None) -> Iterator[int]:
        yield size_of(self.snapshot / name)
        if sha256:  # another commit may hold the same bytes; they are then linked, not fetched
            blobs = self.folder / "blobs"
            yield size_of(blobs / sha256)
            yield from map(size_of, blobs.glob(f"{sha256}*.incomplete"))


def main() -> int:
    """Download, check, report; return the exit code."""
    order = Order(
        os.environ["WEIGHTS_REPOSITORY"],
        os.environ["WEIGHTS_COMMIT"],
        json.loads(Path(os.environ["WEIGHTS_FILES"]).read_text()),
        Path(os.environ["HF_HUB_CACHE"]),
    )
    order.cache.mkdir(parents=True, exist_ok=True)
    try:
        remove_abandoned(order.cache)
        check_room(order)
        download(order)
        check_sizes(order)
    except (UnfixableError, TemporaryError) as error:
        report({"error": str(error)[:_LONGEST_TEXT]})
        return PERMANENT if isinstance(error, UnfixableError) else TEMPORARY
    report({"commit": order.commit, "files": len(order.files), "bytes": order.total})
    return 0


def size_of(path: Path) -> int:
    """Return a file's bytes, 0 when it is not there (a partial file may just be renamed)."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def remove_abandoned(cache: Path) -> None:
    """Remove the partial files of killed attempts that no huggingface_hub goes on with.

    Nobody else is at work on them: one Job at a time writes the volume.
    """
    for path in cache.glob("models--*/blobs/*.incomplete"):
        if _ABANDONED.search(path.name):
            path.unlink(missing_ok=True)


def check_room(order: Order) -> None:
    """Raise UnfixableError before the first byte when the volume cannot hold what is missing."""
    missing = order.total - order.present()
    free = shutil.disk_usage(order.cache).free
    if missing > free:
        message = f"the volume has {free} bytes free and {missing} are still to come"
        raise UnfixableError(message)


def download(order: Order) -> None:
    """Fetch the files, saying how far it is every second.

    Raises UnfixableError or TemporaryError for what the Hub answers.
    """
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    done = threading.Event()
    reporter = threading.Thread(target=say_progress, args=(done, order))
    reporter.start()
    try:
        fetch(order, os.environ.get("HF_TOKEN") or None)
    except (HfHubHTTPError, EntryNotFoundError) as error:
        raise classified(error, order) from error
    finally:
        done.set()
        reporter.join()


def fetch(order: Order, token: str | None) -> None:
    """Let the image's huggingface_hub fetch what is not there; it raises its own errors."""
    from huggingface_hub import hf_hub_download, snapshot_download

    names = [file["name"] for file in order.files]
    snapshot_download(
        order.repository,
        revision=order.commit,
        cache_dir=order.cache,
        allow_patterns=[escaped(name) for name in names],
        token=token or False,
    )
    # It passes over names that the commit does not have, and before 1.22 it calls a part of the
    # files a snapshot when the Hub refuses to list them. Asking for the file itself tells why.
    for name in names:
        if not (order.snapshot / name).exists():
            hf_hub_download(
                order.repository,
                name,
                revision=order.commit,
                cache_dir=order.cache,
                token=token or False,
            )


def classified(error: BaseException, order: Order) -> UnfixableError | TemporaryError:
    """Turn huggingface_hub's error into one of ours, with a text for people.

    The Hub's answer may be the cause of a LocalEntryNotFoundError, which huggingface_hub raises
    for a 403 as for a Hub that is down (`_raise_on_head_call_error` in its file_download.py).
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    for each in causes(error):
        status = getattr(getattr(each, "response", None), "status_code", None)
        if isinstance(each, RepositoryNotFoundError) and not isinstance(each, GatedRepoError):
            who = f"the Hub has no {order.repository}, or does not show it to this token"
        elif status in {401, 403}:
            who = f"the Hub refuses {order.repository} to this token"
        elif status == 404:  # noqa: PLR2004 -- HTTP's number
            who = f"the Hub has not all files of {order.repository} at {order.commit}"
        else:
            continue
        return UnfixableError(f"{who} (HTTP {status})")
    root = list(causes(error))[-1]
    return TemporaryError(f"{type(root).__name__}: {str(root).strip().partition(chr(10))[0]}")


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, the one it was raised from, and so on."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def escaped(name: str) -> str:
    """Make a file name match only itself where huggingface_hub expects a pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def say_progress(done: threading.Event, order: Order) -> None:
    """Print `progress DONE TOTAL` when it grew, about once a second, until `done`."""
    said = -1
    while True:
        ended = done.wait(PROGRESS_SECONDS)
        present = order.present()
        if present > said:
            said = present
            print(f"progress {present} {order.total}", flush=True)  # noqa: T201 -- the Job's output
        if ended:
            return


def check_sizes(order: Order) -> None:
    """Compare each file's size with the Hub's list; remove the wrong ones so a retry fetches them.

    Raises TemporaryError when there was one.
    """
    wrong = []
    for file in order.files:
        path = order.snapshot / file["name"]
        size = size_of(path)
        if size != file["size"] or not path.exists():
            wrong.append(f"{file['name']}: {size} bytes on the volume, {file['size']} on the Hub")
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    if wrong:
        raise TemporaryError("; ".join(wrong))


def report(result: dict[str, object]) -> None:
    """Leave the result where Kubernetes keeps it with the pod, and on stdout."""
    text = json.dumps(result)
    Path(os.environ["TERMINATION_LOG"]).write_text(text)
    print(text, flush=True)  # noqa: T201 -- the Job's output


if __name__ == "__main__":
    sys.exit(main())
