"""A text file that is read, changed and put back whole: never half written, never over another's.

A new version is written beside the file and takes its place in one step, with the same mode and,
where this account may, the same owner. A symbolic link stays one; its target is changed.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vllm_flows.errors import ConfigurationError, StalePlanError
from vllm_flows.regular_file import read_beginning
from vllm_flows.yaml_text import SIZE_LIMIT

_NEW_MODE = 0o644
_WRITABLE = 0o222


@dataclass(frozen=True)
class KeptFile:
    """A file as it was read: its bytes, None where there was none."""

    path: Path
    target: Path
    data: bytes | None

    @classmethod
    def read(cls, path: Path, limit: int = SIZE_LIMIT) -> KeptFile:
        """Read the file, at most `limit` bytes and one, or see that there is none yet.

        Raises ConfigurationError when it cannot be read, or is no regular file.
        """
        target = Path(os.path.realpath(path))
        try:
            return cls(path, target, read_beginning(target, limit))
        except FileNotFoundError:
            return cls(path, target, None)
        except OSError as error:
            raise _failed(path, "cannot be read", error) from error

    def replace(self, data: bytes) -> None:
        """Put `data` in the place of what was read.

        Raises StalePlanError when the file has changed since, ConfigurationError when it, or its
        folder, may not be written; then it is as it was, and nothing lies beside it.
        """
        temporary = self.target.with_name(f".{self.target.name}.{secrets.token_hex(4)}")
        self.insist_on_writable()
        try:
            try:
                self._write(temporary, data)
                with _alone(self.target.parent):
                    self._insist_on_what_was_read()
                    temporary.replace(self.target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise _failed(self.path, "cannot be written", error) from error

    def insist_on_writable(self) -> None:
        """Raise ConfigurationError when the file or its folder may not be written.

        Taking the place of a file asks nobody whether that file may be written.
        """
        folder, path = shlex.quote(str(self.path.parent)), shlex.quote(str(self.path))
        if not self.target.parent.is_dir():
            raise ConfigurationError(
                f"there is no folder for {self.path}", next_command=f"mkdir -p {folder}"
            )
        status = self._status()
        if status and not (status.st_mode & _WRITABLE and os.access(self.target, os.W_OK)):
            raise ConfigurationError(f"{self.path} is read-only", next_command=f"chmod u+w {path}")
        if not os.access(self.target.parent, os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"{self.path} cannot be written",
                why="its folder may not be written by this account",
                next_command=f"ls -ld {folder}",
            )

    def _status(self) -> os.stat_result | None:
        try:
            return self.target.stat()
        except OSError:
            return None

    def _write(self, temporary: Path, data: bytes) -> None:
        status = self._status()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(temporary, flags, 0o600), "wb") as file:  # noqa: PTH123 -- a descriptor
            file.write(data)
            if status:
                with suppress(PermissionError):
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode) if status else _NEW_MODE)
            file.flush()
            os.fsync(file.fileno())

    def _insist_on_what_was_read(self) -> None:
        if KeptFile.read(self.path) != self:
            raise StalePlanError(
                f"{self.path} was changed by somebody else meanwhile; it stays as it is",
                next_command="run the same command again",
            )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others of our kind from looking and replacing in between, where locks work."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(path: Path, what: str, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path} {what}", why=error.strerror or type(error).__name__, next_command=_look(path)
    )


def _look(path: Path) -> str:
    folder = path.parent
    return f"ls -ld {shlex.quote(str(folder))} {shlex.quote(str(path))}"
