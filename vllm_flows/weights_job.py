"""The program of a weights Job: bring one commit of one repository to the volume, and prove it.

It runs in the engine image: Python, that image's huggingface_hub (0.25 or newer), nothing else of
ours. The layout is huggingface_hub's; beside it `.vllm-flows/checked` says which blobs were hashed
(and size, time and inode then), `.vllm-flows/COMMIT.json` that a commit is complete, with its
files. A file that is cut off goes on by Range from `blobs/HASH.part`, read again to be hashed.

Environment: WEIGHTS_REPOSITORY, WEIGHTS_COMMIT (`prune`: nothing is fetched, and all that
WEIGHTS_KEEP does not name is removed); WEIGHTS_FILES (path of JSON: a list of `{"name",
"size", "sha256", "blob_id"}`; sha256 is null for what git itself holds); WEIGHTS_AT_ONCE (files);
WEIGHTS_XET (1: huggingface_hub fetches large files, which then cannot go on after a kill);
WEIGHTS_KEEP (commits that must stay), WEIGHTS_BEFORE (one that stays while there is room),
WEIGHTS_BUDGET (the volume's bytes); WEIGHTS_RECHECK (a word; at a new one all is read again);
WEIGHTS_STALL_SECONDS (60: a connection that is silent, or
brings less than 1 KiB/s, for so long is dropped; by Xet the library decides),
WEIGHTS_RETRY_SECONDS (1: the first wait); HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN; TERMINATION_LOG.

On stdout: `progress DONE TOTAL`, or `checking DONE TOTAL` while it reads what is there, in bytes;
`again FILE` when a file came with a wrong hash and is fetched once more.
Its last word, in TERMINATION_LOG too, is `{"error"}`, `{"commit", "files", "bytes", "fetched",
"complete"}` or, having pruned, `{"freed", "complete"}`; neither it nor stderr holds the token or a
signed address. Exit code 0: complete.
3: trying again cannot help. 1: it may.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from vllm_flows.weights_blobs import Partial, Record, size_of
from vllm_flows.weights_download import Hub
from vllm_flows.weights_markers import by_age, forget, mark, withdraw_markers
from vllm_flows.weights_order import PRUNE, Order, TemporaryError, UnfixableError, order_from
from vllm_flows.weights_redaction import RedactedStream, redacted
from vllm_flows.weights_volume import (
    link,
    prepare,
    present,
    prune,
    refused_by_volume,
    sole_writer,
    tidy,
)

PERMANENT = 3
TEMPORARY = 1
AGAIN = "again"
"""Begins the line that tells which file is fetched once more."""

_SECONDS = 1.0
"""Between two lines that tell how far it is."""
_LONGEST_TEXT = 600
"""Characters, each up to six bytes in JSON. Kubernetes keeps 4096 bytes of a last word."""


def main() -> int:
    """Do what the environment orders, report, return the exit code."""
    signal.signal(signal.SIGTERM, stop)
    token = os.environ.get("HF_TOKEN", "").strip()
    sys.stderr = RedactedStream(sys.stderr, token)
    try:
        order = order_from(os.environ)
        report(bring(order), token)
    except (UnfixableError, TemporaryError) as error:
        report({"error": str(error)}, token)
        return PERMANENT if isinstance(error, UnfixableError) else TEMPORARY
    except Exception as error:  # noqa: BLE001 -- the edge: whatever happens, a last word and an end
        traceback.print_exc()
        report({"error": f"{type(error).__name__}: {error}"}, token)
        return TEMPORARY
    return 0


def stop(_signal: int, _frame: object) -> None:
    """End at once: what is on the volume is where the next attempt goes on."""
    report({"error": "told to stop; what is fetched stays on the volume"}, "")
    os._exit(TEMPORARY)


def report(result: dict[str, Any], token: str) -> None:
    """Leave the result where Kubernetes keeps it with the pod, and on stdout, without secrets."""
    if "error" in result:
        result = {"error": redacted(result["error"], token)[:_LONGEST_TEXT]}
    with contextlib.suppress(OSError):  # the line below says it too
        Path(os.environ["TERMINATION_LOG"]).write_text(json.dumps(result))
    say(json.dumps(result))


def say(line: str) -> None:
    """Print a line of the Job's output."""
    print(line, flush=True)  # noqa: T201 -- the Job's output


def bring(order: Order) -> dict[str, Any]:
    """Check, prune, fetch, link, mark; or only prune. Return what to report.

    Raises UnfixableError or TemporaryError, for what the volume refuses too.
    """
    try:
        if order.commit == PRUNE:
            return tidy(order)
        prepare(order)
        with sole_writer(order.lock):
            forget(order)
            withdraw_markers(order)
            prune(order)
            record = Record(order.folder)
            fetched = complete(order, record)
            link(order)
            mark(order, record)
    except OSError as error:
        raise refused_by_volume(error, order) from error
    counts = {"files": len(order.files), "bytes": order.total, "fetched": fetched}
    return {"commit": order.commit, **counts, "complete": sorted(by_age(order))}


def complete(order: Order, record: Record) -> int:
    """Bring every file to its blob, checked; return how many bytes came from the Hub."""
    hub = Hub(order)
    partials = [Partial(file, order.blobs) for file in order.unique]
    partials = [each for each in partials if not record.knows(each.blob)]
    total = sum(min(each.file.size, size_of(each.blob) or size_of(each.path)) for each in partials)
    with saying("checking", total, lambda: sum(each.position for each in partials)):
        at_once(order.at_once, lambda each: each.check(record), partials)
    missing = [each for each in partials if not record.knows(each.blob)]
    with saying("progress", order.total, lambda: present(order)):
        try:
            # Twice as many: while the disk takes up one file, the next one comes.
            at_once(2 * order.at_once, lambda each: fetch(hub, each, record), missing)
        finally:
            hub.closed.set()
    return sum(each.fetched for each in missing)


def fetch(hub: Hub, partial: Partial, record: Record) -> None:
    """Fetch the rest of a file; once more from its beginning when the hash is wrong.

    Nothing when another file has failed meanwhile.
    """
    for last in (False, True):
        with hub.slots:
            if hub.closed.is_set():
                return
            hub.complete(partial)
        give_back_memory()
        if partial.keep(partial.path, record):
            return
        if not last:
            say(f"{AGAIN} {partial.file.name}")
    words = "what comes from the Hub has not the hash that the Hub lists, also when fetched again"
    raise TemporaryError(f"{partial.file.name}: {words}")


def give_back_memory() -> None:
    """Return to the system what glibc keeps of freed memory; where there is no such call, nothing.

    It keeps some of each thread's, and every file has threads of its own: without this it grows
    with the number of files.
    """
    with contextlib.suppress(AttributeError, OSError):  # musl has none
        ctypes.CDLL(None).malloc_trim(0)


def at_once(count: int, work: Callable[[Partial], None], partials: list[Partial]) -> None:
    """Do the work on `count` files at a time; raise what the first one to fail raises."""
    pool = ThreadPoolExecutor(count)
    try:
        for future in as_completed([pool.submit(work, each) for each in partials]):
            future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def saying(verb: str, total: int, count: Callable[[], int]) -> Iterator[None]:
    """Tell how far it is, about once a second, while the body runs."""
    ended = threading.Event()
    speaker = threading.Thread(target=tell, args=(ended.wait, verb, total, count), daemon=True)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()


def tell(ended: Callable[[float], bool], verb: str, total: int, count: Callable[[], int]) -> None:
    """Print `VERB DONE TOTAL` whenever it changed, and at the end."""
    said, last = None, total == 0
    while not last:
        last = ended(_SECONDS)
        done = count()
        if done != said:
            said = done
            say(f"{verb} {done} {total}")
