"""The controller's work: keys to look at, now or later, each once at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.external_secrets.decisions import retry_after


@dataclass(frozen=True)
class Key:
    """What is to be looked at: an object by kind, namespace ("" for a cluster's) and name."""

    kind: str
    namespace: str
    name: str


class Queue:
    """A queue that one worker empties. An earlier time replaces a later one."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._due: dict[Key, float] = {}
        self._failures: dict[Key, int] = {}
        self._changed = threading.Condition()

    def add(self, key: Key, after: float = 0.0) -> None:
        """Have a key looked at after so many seconds."""
        with self._changed:
            due = self._now() + after
            self._due[key] = min(due, self._due.get(key, due))
            self._changed.notify()

    def retry(self, key: Key) -> None:
        """Have a key looked at again after a failure: later after each further one."""
        with self._changed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.add(key, retry_after(failures))

    def succeeded(self, key: Key) -> None:
        """Forget the failures of a key."""
        with self._changed:
            self._failures.pop(key, None)

    def next(self) -> Key:
        """Wait for the next key that is due and take it."""
        with self._changed:
            while True:
                if self._due:
                    key = min(self._due, key=self._due.__getitem__)
                    left = self._due[key] - self._now()
                    if left <= 0:
                        del self._due[key]
                        return key
                    self._changed.wait(left)
                else:
                    self._changed.wait()
