"""Whether a helm of ours writes on this machine, also when the run that started it was killed.

The lock is a file that the helm process inherits open: it lasts just as long as that process, and
needs no cleaning up. While a helm is at work the file says since when, and its process; that stays,
with the time of its end, when it did not come to a good one. What happens on other machines it does
not tell.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vllm_flows.errors import ReleaseUnavailableError

_PID = "pid="
_TRIES, _MOMENT_SECONDS = 10, 0.002
NOT_ITS_RUN = "the run that started it has ended, or holds the namespace's lock no longer"
"""Why a helm is at work though the namespace's lock is free, or ours."""


@dataclass(frozen=True)
class HelmLock:
    """The lock of one release; `path` is a file of this user on this machine."""

    path: Path

    @classmethod
    def of(cls, place: str) -> HelmLock:
        """Return the lock of the release in a namespace; `place` is that namespace's uid.

        The same for every kubeconfig, context and environment by which the cluster is reached.
        """
        digest = hashlib.sha256(place.encode()).hexdigest()[:16]
        return cls(account_folder() / f"vllm-flows-{os.getuid()}-helm-{digest}.lock")

    def held(self) -> bool:
        """Say whether a helm holds it now. Others may ask at the same moment."""
        with self._opened() as descriptor:
            return not _locked(descriptor, fcntl.LOCK_SH)

    def unfinished(self) -> tuple[float, float] | None:
        """Return from when to when a helm was at work that came to no good end, if one was.

        In seconds since the epoch; endless when nobody saw it end.
        """
        try:
            words = self.path.read_text().split()
            since, *until = (float(one) for one in words if not one.startswith(_PID))
        except (OSError, ValueError):
            return None
        return since, until[0] if until else math.inf

    def ending(self) -> str:
        """Return the command that ends the helm that holds it, and what that started.

        One that shows it where that is not certain: the number of one that has ended may be
        another's by now.
        """
        with contextlib.suppress(OSError, ValueError):
            _, process = self.path.read_text().split()  # no more than these: nobody saw it end
            number = int(process.removeprefix(_PID))
            if os.getpgid(number) == number:
                return f"kill -- -{number}"
        return "ps -C helm -o pid,etime,args"

    @contextmanager
    def taken(self) -> Iterator[Hold]:
        """Yield what the helm process has to inherit, and call its `done` or `failed` at its end.

        Raises ReleaseUnavailableError, which a retry can help, when another helm holds it.
        """
        with self._opened() as descriptor:
            if not any(_locked(descriptor, fcntl.LOCK_EX) for _ in _moments()):
                raise ReleaseUnavailableError(
                    "a helm that was started earlier is still at work",
                    why=NOT_ITS_RUN,
                    next_command=self.ending(),
                )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(time.time()).encode(), 0)
            yield Hold(descriptor)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _locked(descriptor: int, kind: int) -> bool:
    """Try to lock an open file as `kind` says; return whether it is."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _moments() -> Iterator[None]:
    """Yield now and for a few milliseconds more: who only asks holds the lock no longer."""
    yield
    for _ in range(_TRIES):
        time.sleep(_MOMENT_SECONDS)
        yield


@dataclass(frozen=True)
class Hold:
    """The lock while one helm is at work."""

    descriptor: int

    def begun(self, pid: int) -> None:
        """Note which process it is, and the group of all that it starts."""
        self._add(f"{_PID}{pid}")

    def done(self) -> None:
        """Note that helm came to a good end."""
        os.ftruncate(self.descriptor, 0)

    def failed(self) -> None:
        """Note that helm ended otherwise: what is begun after this moment is somebody else's."""
        self._add(str(time.time()))

    def _add(self, word: str) -> None:
        os.pwrite(self.descriptor, f" {word}".encode(), os.fstat(self.descriptor).st_size)


def account_folder() -> Path:
    """Return a folder that all processes of this account share, whatever their environment says."""
    with contextlib.suppress(KeyError, OSError):  # an account of a container may have no home
        folder = Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache" / "vllm-flows"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    return Path("/tmp")  # noqa: S108 -- files in it are opened without following links
