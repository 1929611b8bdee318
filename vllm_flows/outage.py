"""How long a model did not answer. Pure: what was heard when goes in, seconds come out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Outage:
    """The silence of one model while it was replaced; `seconds` of it so far.

    From when a question was asked that was not answered to when the next one was, so the figure is
    exact to the interval between two questions.
    """

    seconds: float = 0.0
    _silent_since: float | None = None

    def hear(self, now: float, *, answered: bool) -> None:
        """Take in whether a question asked at `now` (in seconds) was answered."""
        if self._silent_since is not None:
            self.seconds += now - self._silent_since
        self._silent_since = None if answered else now
