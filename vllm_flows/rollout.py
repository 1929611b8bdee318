"""How a model's pods are replaced, from the room there is. Pure.

The chart has one strategy for all Deployments of a release (`servingEngineSpec.strategy`, 0.1.8 to
0.1.12). A new strategy restarts nothing, so each model that changes gets its own, one after the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

Room = Callable[[int, int], bool]
"""Whether so many new replicas (first) have room beside so many of those that run (second)."""


class Strategy(StrEnum):
    """In which order old and new replicas end and start."""

    SURGE = "surge"
    ONE_AT_A_TIME = "one at a time"
    STOP_FIRST = "stop, then start"


@dataclass(frozen=True)
class Rollout:
    """How one model's replicas are replaced; `surge` are those that start before an old one ends.

    `downtime` says that meanwhile no replica answers, although one does now.
    """

    strategy: Strategy
    surge: int = 0
    downtime: bool = False

    def as_chart_values(self) -> dict[str, Any]:
        """Return the Deployment's strategy.

        Always RollingUpdate: `Recreate` cannot be merged into a Deployment that had limits.
        """
        unavailable: int | str = 0
        if self.strategy is Strategy.ONE_AT_A_TIME:
            unavailable = 1
        elif self.strategy is Strategy.STOP_FIRST:
            unavailable = "100%"
        limits = {"maxSurge": self.surge, "maxUnavailable": unavailable}
        return {"type": "RollingUpdate", "rollingUpdate": limits}

    @property
    def text(self) -> str:
        """Say it in words."""
        if self.strategy is Strategy.SURGE:
            return f"surge of {self.surge}: old replicas that answer do so until new ones are ready"
        if self.downtime:
            return "stop, then start: no replica answers until the new ones are ready"
        if self.strategy is Strategy.ONE_AT_A_TIME:
            return "one replica at a time: the others answer"
        return "stop, then start: nothing answers now"


@dataclass(frozen=True)
class Replicas:
    """One model's replicas: as many as are wanted, the old ones that run, and those that answer."""

    wanted: int
    running: int
    ready: int

    def silent(self, strategy: Strategy) -> bool:
        """Say whether for a while none answers, although one does now."""
        if strategy is Strategy.SURGE:
            return False
        in_turn = strategy is Strategy.ONE_AT_A_TIME and min(self.wanted, self.running) > 1
        return self.ready > 0 and not (in_turn and self.ready > 1)

    def steps(self, strategy: Strategy) -> list[tuple[int, int]]:
        """Return in each step how many new replicas there are beside how many old ones."""
        if strategy is Strategy.SURGE:
            return [(min(1, self.wanted), self.running)]
        if strategy is Strategy.STOP_FIRST:
            return [(self.wanted, 0)]
        return [(new, max(0, self.wanted - new)) for new in range(1, self.wanted + 1)]


AT_REST = Rollout(Strategy.SURGE, 1)
"""What Deployments have while nothing changes: a restart by hand needs room for one replica."""


def choose_together(
    room: Callable[[Strategy], bool], replicas: Collection[Replicas]
) -> Strategy | None:
    """Return the gentlest way in which several models can be replaced at once, all in the same.

    None when the new replicas have no room together even without the old ones. One at a time is a
    way only where that spares a model its silence.
    """
    spared = any(
        one.silent(Strategy.STOP_FIRST) and not one.silent(Strategy.ONE_AT_A_TIME)
        for one in replicas
    )
    ways = [Strategy.SURGE, *([Strategy.ONE_AT_A_TIME] if spared else []), Strategy.STOP_FIRST]
    return next((way for way in ways if room(way)), None)


def choose_rollout(room: Room, replicas: int, running: int, ready: int) -> Rollout | None:
    """Return the gentlest way to come from `running` old replicas to `replicas` new ones.

    `ready` of the old ones answer now. None when the new ones have no room even without the old.
    """
    for surge in sorted({replicas, 1}, reverse=True):
        if room(surge, running):
            return Rollout(Strategy.SURGE, surge)
    in_turn = all(room(new, replicas - new) for new in range(1, replicas + 1))
    if min(replicas, running, ready) > 1 and in_turn:
        return Rollout(Strategy.ONE_AT_A_TIME)
    if room(replicas, 0):
        return Rollout(Strategy.STOP_FIRST, downtime=ready > 0)
    return None
