"""The end of the process, for verbs that leave threads behind."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress

from vllm_flows.children import end_all

_LAST_SECONDS = 30.0
_UNSENT = "the Prefect server does not take the last of this run's log: ended without"


def leave_threads(code: int, last: float = _LAST_SECONDS) -> None:
    """End the process with this code at once when threads still wait for an answer.

    The interpreter would take them down in the middle of a call, which can abort the process. What
    Prefect has registered for the end is done; its runs leave no such thread. It sends the last of
    a run's log and events then, for ever where its server has gone: after `last` seconds the
    process ends all the same.
    """
    if "prefect" in sys.modules:
        timer = threading.Timer(last, _end, (code, _UNSENT))
        timer.daemon = True
        timer.start()
    elif any(thread.daemon for thread in threading.enumerate()):
        _end(code)


def _end(code: int, told: str = "") -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{told}\n" if told else "")
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    end_all()  # which a thread may wait for
    os._exit(code)
