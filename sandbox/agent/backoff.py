"""How long a kubelet waits before it tries again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_SECONDS = 300.0
_FORGET_SECONDS = 600.0


@dataclass
class Backoff:
    """The waits of one container: none before the first restart, then `base`, doubling.

    After ten minutes without a failure it starts over.
    """

    base: float = 10.0
    failures: int = 0

    def next(self, ran_seconds: float) -> float:
        """Return the seconds to wait after a failure of a container that ran so long."""
        if ran_seconds > _FORGET_SECONDS:
            self.failures = 0
        self.failures += 1
        if self.failures == 1:
            return 0.0
        return float(min(self.base * 2 ** min(self.failures - 2, 30), LONGEST_SECONDS))


def text(seconds: float) -> str:
    """Write seconds as Go does: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
