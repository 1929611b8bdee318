"""Whether a helm of ours writes on this machine, also when the run that started it was killed.

The lock is a file that the helm process inherits open: it lasts just as long as that process, and
needs no cleaning up. What happens on other machines it does not tell.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vllm_flows.errors import ReleaseUnavailableError


@dataclass(frozen=True)
class HelmLock:
    """The lock of one release; `path` is a file of this user on this machine."""

    path: Path

    @classmethod
    def of(cls, namespace: str, context: str) -> HelmLock:
        """Return the lock of the release in a namespace, as this kubeconfig reaches it."""
        place = "\n".join([os.environ.get("KUBECONFIG", ""), context, namespace])
        digest = hashlib.sha256(place.encode()).hexdigest()[:16]
        folder = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        return cls(Path(folder) / f"vllm-flows-{os.getuid()}-helm-{digest}.lock")

    def held(self) -> bool:
        """Say whether a helm holds it now."""
        try:
            with self.taken():
                return False
        except ReleaseUnavailableError:
            return True

    @contextmanager
    def taken(self) -> Iterator[tuple[int, ...]]:
        """Yield the file descriptors that the helm process has to inherit.

        Raises ReleaseUnavailableError, which a retry can help, when another helm holds it.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            _lock(descriptor)
            yield (descriptor,)
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ReleaseUnavailableError(
            "a helm that was started earlier is still at work",
            why="the run that started it has ended, helm has not",
            next_command="ps -C helm -o pid,etime,args",
        ) from error
