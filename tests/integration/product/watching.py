"""Every process that begins on this machine while a block runs, looked at."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil

_LOOKED_EVERY_SECONDS = 0.03
_LOOKS = 5


@contextmanager
def watched_processes(look: Callable[[psutil.Process], None]) -> Iterator[None]:
    """Let `look` see every new process; one that has ended meanwhile raises psutil's Error.

    Each is looked at a few times: at first it may still be a copy of who starts it.
    """
    over, known = threading.Event(), Counter(dict.fromkeys(psutil.pids(), _LOOKS))

    def watch() -> None:
        while not over.wait(_LOOKED_EVERY_SECONDS):
            for pid in psutil.pids():
                known[pid] += 1
                if known[pid] <= _LOOKS:
                    with suppress(psutil.Error):
                        look(psutil.Process(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
