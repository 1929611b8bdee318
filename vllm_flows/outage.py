"""How long a model did not answer. Pure: what was heard when goes in, seconds come out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from vllm_flows.sizes import human_seconds


class Heard(Enum):
    """What became of one question."""

    ANSWER = auto()
    SILENCE = auto()
    NOT_ASKED = auto()
    """It did not reach the model: the API server, through which it goes, did not answer."""


_LONGEST_SECONDS = 15.0
"""No question takes so long: where more passed before the next, the run itself stood still."""


@dataclass
class Outage:
    """The silence of one model while it was replaced; `seconds` of it so far.

    From when a question was asked that was not answered to when the next one was, so the figure is
    exact to the interval between two questions. `not_measured_seconds` are those from a question
    that could not be asked to the next that could, or for which the run stood still: nobody knows
    whether the model was silent. `lasting`: it still was when the asking ended.
    """

    seconds: float = 0.0
    not_measured_seconds: float = 0.0
    lasting: bool = False
    _since: float = 0.0
    _heard: Heard = Heard.ANSWER

    def hear(self, now: float, heard: Heard) -> None:
        """Take in what became of a question asked at `now` (in seconds)."""
        passed = now - self._since
        if self._heard is Heard.SILENCE and passed <= _LONGEST_SECONDS:
            self.seconds += passed
        elif self._heard is not Heard.ANSWER:
            self.not_measured_seconds += passed
        self._since, self._heard = now, heard

    def end(self, now: float) -> None:
        """Take in that nobody asks any more from `now` on."""
        self.lasting = self._heard is Heard.SILENCE
        self.hear(now, Heard.ANSWER)

    @property
    def not_measured(self) -> str:
        """What is to be said beside the seconds; empty when all was measured."""
        if not self.not_measured_seconds:
            return ""
        seconds = human_seconds(self.not_measured_seconds)
        return f"not measured for {seconds}: the API server did not answer, or this run stood still"
