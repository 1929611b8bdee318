"""A command of ours at work, as somebody sees it who looks at what it says."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

_PATIENCE = 120.0


@dataclass
class Watched:
    """A command at work, and what it has said so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _over: bool = False

    def __post_init__(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    @property
    def said(self) -> str:
        """All that was said so far."""
        return "".join(self.lines)

    def until(self, text: str, times: int = 1) -> None:
        """Wait until the text was said so often."""
        with self._news:
            self._news.wait_for(lambda: self._over or self._count(text) >= times, _PATIENCE)
        assert self._count(text) >= times, self.said

    def until_step(self, step: str) -> None:
        """Wait until the run is at its `weights`, at `helm`, or at the engines' `readiness`."""
        if step == "helm":
            self.until_helm()
        else:
            self.until({"weights": "the weights pod", "readiness": "qwen3: the engine"}[step])

    def ended(self) -> int:
        """Wait for the command's end and return its exit code."""
        try:
            code = self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(self.said) from error
        with self._news:
            self._news.wait_for(lambda: self._over, _PATIENCE)
        return code

    def helm(self) -> list[psutil.Process]:
        """Return the helm that changes the release, if one runs now."""
        with suppress(psutil.Error):
            return [one for one in psutil.Process(self.process.pid).children() if _changes(one)]
        return []

    def until_helm(self) -> list[psutil.Process]:
        """Wait until helm changes the release, and return it."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            found = self.helm()
            if found:
                return found
            assert self.process.poll() is None, self.said
            time.sleep(0.01)
        raise AssertionError(self.said)

    def _count(self, text: str) -> int:
        return sum(text in line for line in self.lines)


def _changes(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.cmdline()[1:2] == ["upgrade"]
    return False
