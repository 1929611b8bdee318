"""Which of what a check found may be repaired now, and why the rest is left alone. Pure.

A repair that does not help must not become a habit: each model has few of them, a run has few, and
two models of one node never have one at the same time. What most models have is none's fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from vllm_flows.errors import VllmFlowsError
from vllm_flows.health import ROUTER, Checked, Finding, Kind
from vllm_flows.health_events import key_of
from vllm_flows.health_memory import NOTHING, Memory

_RESTARTED = {Kind.SILENT, Kind.EMPTY, Kind.RUBBISH, Kind.OTHER_KEY}
_PAUSE_SECONDS = 6 * 3600.0
_WEEK_SECONDS = 7 * 24 * 3600.0
_IN_A_WEEK = 3
_MANY = 4
"""So many models with the same fault, if they are more than half, have it from elsewhere."""


class Way(StrEnum):
    """How something is repaired."""

    RESTART = "restart"
    REFETCH = "fetch anew"


@dataclass(frozen=True)
class Repair:
    """What is to be done for one model: its `pod` is ended, or damaged files are fetched anew.

    The router has no files. `of_key`: the pod holds another API key.
    """

    model: str
    way: Way
    node: str
    pod: str = ""
    of_key: bool = False

    @property
    def mark(self) -> str:
        """What is remembered of it: after a pod with another key, the next may have one too."""
        return f"{self.way} {self.pod}" if self.of_key else str(self.way)

    @property
    def text(self) -> str:
        """Say what was done."""
        if self.way is Way.RESTART:
            return f"pod {self.pod} was ended, another takes its place"
        return "the damaged files on its volume were fetched anew"

    def failed(self, error: VllmFlowsError) -> Result:
        """Return that it was tried and did not come about."""
        return Result(self, f"not repaired: {error.what}", error.next_command, tried=True)

    def left(self, why: str, next_command: str = "") -> Result:
        """Return that nothing was done; `next_command` where another try would end the same."""
        return Result(self, f"left alone: {why}", next_command)


@dataclass(frozen=True)
class Result:
    """What came of a repair that would help: `why` nothing was done or it failed, "" when done."""

    repair: Repair
    why: str = ""
    next_command: str = ""
    tried: bool = False

    @property
    def text(self) -> str:
        """Say it in a line."""
        return f"{self.repair.model}: {self.why or self.repair.text}"

    def on(self, one: Checked) -> Checked:
        """Return what was found of the model with what came of it, and what to run now."""
        again = "vllm-flows check" if one.shared else f"vllm-flows check {one.name}"
        next_command = self.next_command if self.why else again
        kinds = {Kind.WEIGHTS} if self.repair.way is Way.REFETCH else _RESTARTED
        said = self.why or f"since then {self.repair.text}"
        findings = tuple(
            replace(
                each,
                why="; ".join(filter(None, [each.why, said])),
                next_command=next_command or each.next_command,
            )
            if each.kind in kinds and each.replica in {"", self.repair.pod}
            else each
            for each in one.findings
        )
        return replace(one, findings=findings)


@dataclass(frozen=True)
class Repairs:
    """What is to be done, and what is not."""

    chosen: tuple[Repair, ...] = ()
    refused: tuple[Result, ...] = ()


def choose(
    checked: Sequence[Checked],
    nodes: Mapping[str, Mapping[str, str]],
    memories: Mapping[str, Memory],
    now: float,
    at_most: int,
) -> Repairs:
    """Choose the repairs of one run; `nodes` has by model the node of each of its pods.

    A router that holds another key is replaced like an engine that does.
    Models that do not answer come before those that do. `now` is in seconds since the epoch.
    """
    chosen: list[Repair] = []
    refused: list[Result] = []
    models = [one for one in checked if not one.shared]
    routers = [one for one in checked if one.name == ROUTER]
    for one in sorted([*models, *routers], key=lambda one: -one.state.badness):
        repair = _wanted(one, nodes.get(one.name, {}))
        if repair is None:
            continue
        why = _obstacle(repair, one, models, memories.get(key_of(one.name), NOTHING), now)
        if why:
            refused.append(repair.left(why, _instead(repair, one)))
        elif why := _beside(repair, chosen, at_most):
            refused.append(repair.left(why))
        else:
            chosen.append(repair)
    return Repairs(tuple(chosen), tuple(refused))


def _wanted(one: Checked, pods: Mapping[str, str]) -> Repair | None:
    """Return what would help. Damaged files come first: who is restarted would load them."""
    if not pods:
        return None
    if any(finding.kind is Kind.WEIGHTS for finding in one.findings):
        return Repair(one.name, Way.REFETCH, next(iter(pods.values())))
    bad = next((finding for finding in one.findings if finding.kind in _RESTARTED), None)
    if bad is None:
        return None
    pod = bad.replica or (next(iter(pods)) if len(pods) == 1 else "")
    of_key = bad.kind is Kind.OTHER_KEY
    return Repair(one.name, Way.RESTART, pods[pod], pod, of_key) if pod in pods else None


def _instead(repair: Repair, one: Checked) -> str:
    """Return what to run where another try would end the same; "" where it is known already."""
    if repair.of_key:
        return ""
    left = _left_unproven(repair, one)
    return left.next_for(one.name) if left else f"vllm-flows logs {one.name}"


def _left_unproven(repair: Repair, one: Checked) -> Finding | None:
    """Return that what answers badly was never seen to answer well, if that is so.

    Another key, and files that were damaged, are no fault of what runs.
    """
    if repair.of_key or repair.way is not Way.RESTART:
        return None
    return next((each for each in one.findings if each.kind is Kind.UNPROVEN), None)


def _obstacle(
    repair: Repair, one: Checked, models: Sequence[Checked], memory: Memory, now: float
) -> str:
    if _left_unproven(repair, one):
        return "it was not seen to answer as it is now, and a restart brings the same"
    ages = [(now - at, what) for at, what in memory.repairs]
    same = [age for age, what in ages if repair.mark in {what, what.partition(" ")[0]}]
    if any(age < _PAUSE_SECONDS for age in same):
        return "it was repaired less than 6 hours ago"
    if sum(age < _WEEK_SECONDS for age, _ in ages) >= _IN_A_WEEK:
        return f"it was repaired {_IN_A_WEEK} times within a week; somebody should look"
    if repair.of_key:
        return ""
    alike = sum(_has(other, one.findings[0]) for other in models)
    if repair.way is Way.RESTART and alike >= _MANY and alike * 2 > len(models):
        return f"{alike} of {len(models)} models are so; the cause is elsewhere"
    return ""


def _has(one: Checked, finding: Finding) -> bool:
    return any(each.kind is finding.kind for each in one.findings)


def _beside(repair: Repair, chosen: Sequence[Repair], at_most: int) -> str:
    if len(chosen) >= at_most:
        return f"{at_most} repairs in one run are enough"
    models = [other for other in chosen if ROUTER not in (other.model, repair.model)]
    same = next((other for other in models if other.node == repair.node), None)
    return f"{same.model} on the same node is repaired now" if same else ""
