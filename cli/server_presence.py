"""Whether a Prefect server that is asked again and again is still there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from vllm_flows.errors import TimedOutError
from vllm_flows.sizes import human_seconds

_WORTH_SAYING_SECONDS = 10.0


@dataclass
class Presence:
    """What is known of a server; that it is away, and that it is back, is said once.

    `patience` is how many seconds it may be away, `clock` counts seconds.
    """

    address: str
    patience: float
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _since: float | None = None
    _said: bool = False

    def heard(self, why_not: str) -> None:
        """Take what came of a question: "" for an answer, else why there was none.

        Raises TimedOutError when there was none for as long as the patience.
        """
        if not why_not:
            if self._said:
                self.say("the Prefect server is back")
            self._since, self._said = None, False
            return
        now = self.clock()
        self._since = now if self._since is None else self._since
        if now - self._since >= self.patience:
            raise self._gone(why_not)
        if now - self._since >= min(_WORTH_SAYING_SECONDS, self.patience) and not self._said:
            self._said = True
            self.say(
                f"the Prefect server is away ({why_not}); runs go on, and end with this "
                f"where it is not back within {human_seconds(self.patience)}"
            )

    def _gone(self, why_not: str) -> TimedOutError:
        return TimedOutError(
            f"the Prefect server {self.address} is away for {human_seconds(self.patience)}",
            why=why_not,
            next_command="vllm-flows serve   (once the server is there)",
        )
