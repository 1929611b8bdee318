"""The end of the process, for verbs that leave threads behind."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress


def leave_threads(code: int) -> None:
    """End the process with this code at once when threads still wait for an answer.

    The interpreter would take them down in the middle of a call, which can abort the process. What
    Prefect has registered for the end is done; its runs leave no such thread.
    """
    waiting = any(thread.daemon for thread in threading.enumerate())
    if not waiting or "prefect" in sys.modules:
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
