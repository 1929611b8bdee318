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
    whether the model was silent. `lasting`: it still was when the asking ended. `asked` are all
    questions that could be asked, `lost` those without an answer, and `slowest` is the longest time
    that an answer took. `longest` is the longest silence without an answer in between.
    """

    seconds: float = 0.0
    not_measured_seconds: float = 0.0
    lasting: bool = False
    asked: int = 0
    lost: int = 0
    slowest: float = 0.0
    longest: float = 0.0
    _gap: float = 0.0
    _since: float = 0.0
    _heard: Heard = Heard.ANSWER

    def hear(self, now: float, heard: Heard) -> None:
        """Take in what became of a question asked at `now` (in seconds)."""
        passed = now - self._since
        if self._heard is Heard.SILENCE and passed <= _LONGEST_SECONDS:
            self.seconds += passed
            self._gap += passed
            self.longest = max(self.longest, self._gap)
        elif self._heard is not Heard.ANSWER:
            self.not_measured_seconds += passed
        self._gap = 0.0 if heard is Heard.ANSWER else self._gap
        self._since, self._heard = now, heard

    def count(self, seconds: float, *, answered: bool) -> None:
        """Take in one question that could be asked, and how long it took."""
        self.asked += 1
        self.lost += not answered
        self.slowest = max(self.slowest, seconds if answered else 0.0)

    def end(self, now: float) -> None:
        """Take in that nobody asks any more from `now` on."""
        self.lasting = self._heard is Heard.SILENCE
        self.hear(now, Heard.ANSWER)

    @property
    def load(self) -> str:
        """What became of the questions that could be asked; empty when none could."""
        if not self.asked:
            return ""
        lost = f"{self.lost or 'none'} {'were' if self.lost > 1 else 'was'} lost"
        slowest = f"{human_seconds(self.slowest)} at most"
        told = [f"of {self.asked} requests while it changed {lost}", slowest, self.not_measured]
        return "; ".join(filter(None, told))

    @property
    def not_measured(self) -> str:
        """What is to be said beside the seconds; empty when all was measured."""
        if not self.not_measured_seconds:
            return ""
        seconds = human_seconds(self.not_measured_seconds)
        return f"not measured for {seconds}: the API server did not answer, or this run stood still"
