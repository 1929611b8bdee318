"""The end of the process, for verbs that leave threads behind."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from contextlib import suppress

from vllm_flows.children import end_all, is_writing

_LAST_SECONDS = 30.0
_POLL_SECONDS = 0.5
_UNSENT = "the Prefect server does not take the last of this run's log: ended without"


def leave_threads(code: int, last: float = _LAST_SECONDS) -> None:
    """End the process with this code at once when threads still wait for an answer.

    The interpreter would take them down in the middle of a call, which can abort the process. What
    Prefect has registered for the end is done; its runs leave no such thread. It sends the last of
    a run's log and events then, for ever where its server has gone: after `last` seconds in which
    no helm writes the process ends all the same.
    """
    gc.freeze()  # or the interpreter goes through all objects once more, which takes half a second
    if "prefect" in sys.modules:
        threading.Thread(target=_end_after, args=(code, last), daemon=True).start()
    elif any(thread.daemon for thread in threading.enumerate()):
        _end(code)


def _end_after(code: int, last: float) -> None:
    until = time.monotonic() + last
    while time.monotonic() < until:
        time.sleep(min(_POLL_SECONDS, last))
        if is_writing():  # which only a person's second Ctrl-C may end
            until = time.monotonic() + last
    _end(code, _UNSENT)


def _end(code: int, told: str = "") -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{told}\n" if told else "")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    end_all()  # which a thread may wait for
    os._exit(code)
