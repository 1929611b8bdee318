"""How far a transfer is: bytes, rate, time left, in words and numbers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from vllm_flows.sizes import human_bytes, human_seconds

_WINDOW_SECONDS = 20.0


@dataclass(frozen=True)
class Progress:
    """How far one model's weights are.

    `done` and `total` in bytes, `rate` in bytes per second, `left` in seconds (None while nothing
    is known), `node` where the bytes go; `text` says what is going on before there are bytes.
    `checking`: the bytes are read again from the volume, not fetched. `finished`: nothing more is
    to come, whether it went well or not.
    """

    model: str
    text: str
    done: int = 0
    total: int = 0
    rate: float = 0.0
    left: float | None = None
    node: str = ""
    checking: bool = False
    finished: bool = False

    @property
    def share(self) -> float:
        """Percent, from 0 to 100."""
        return 100 * self.done / self.total if self.total else 0.0

    @property
    def line(self) -> str:
        """Say it in a line: `34 % of 6.43 GB, 85 MB/s, 50 s left, on gpu-node-1`."""
        if not self.total:
            return self.text
        verb = "checked " if self.checking else ""
        parts = [f"{verb}{self.share:.0f} % of {human_bytes(self.total)}"]
        parts += [f"{human_bytes(self.rate)}/s"] if self.rate else []
        parts += [f"{human_seconds(self.left)} left"] if self.left is not None else []
        parts += [f"on {self.node}"] if self.node else []
        return ", ".join(parts)


class Meter:
    """The rate of one transfer over its last twenty seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, now: float, done: int) -> float:
        """Take note of `done` bytes at `now` seconds; return bytes per second, 0 at first.

        A transfer that falls back (a file is fetched anew) is measured from there.
        """
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW_SECONDS:
            self._seen.popleft()
        begin, before = self._seen[0]
        return (done - before) / (now - begin) if now > begin else 0.0
