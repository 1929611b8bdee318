"""What a health check can find, how bad each of it is, and what it makes of a model. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

ROUTER, RELEASE, HUB, VOLUMES = "(router)", "(release)", "(hub)", "(volumes)"
"""What is checked beside the models; no model can have such a name."""


class State(StrEnum):
    """How a model is: the worst that was found. INCONCLUSIVE: not all of it could be measured."""

    GREEN = "green"
    INCONCLUSIVE = "inconclusive"
    DEGRADED = "degraded"
    DOWN = "down"

    @property
    def badness(self) -> int:
        """How bad it is, counted from green."""
        return list(State).index(self)


class Kind(StrEnum):
    """What can be found; a stable contract for automations."""

    NOT_DEPLOYED = "not-deployed"
    NO_REPLICA = "no-replica-ready"
    ROUTER_DOWN = "router-down"
    NO_ANSWER = "no-answer"
    SILENT = "silent"
    WRONG_ANSWER = "wrong-answer"
    WRONG_MODEL = "wrong-model"
    EMPTY = "empty-answer"
    RUBBISH = "rubbish"
    NOT_ROUTED = "not-routed"
    REPLICAS = "replicas-not-ready"
    SHAPE = "answers-changed"
    SLOW_START = "slow-first-token"
    SLOW_TOKENS = "slow-tokens"
    LOST = "lost-on-the-way"
    KEY_IGNORED = "key-ignored"
    KEY_REFUSED = "key-refused"
    OTHER_KEY = "other-key"
    RESTARTS = "restarts"
    ROUTER_ERRORS = "router-errors"
    WEIGHTS = "weights-damaged"
    VOLUME_FULL = "volume-full"
    UNPROVEN = "not-proven"
    CHANGED_OUTSIDE = "changed-outside"
    UNFINISHED = "release-unfinished"
    ACCESS = "access-lost"
    TOKEN = "hub-token"  # noqa: S105 -- a word for people
    CHANGING = "changing"
    NOT_MEASURED = "not-measured"
    AT_REST = "at-rest"
    NEWER = "newer-revision"
    VOLUME_FILLING = "volume-filling"


class Rule(NamedTuple):
    """The state that a finding stands for; GREEN is for what is worth knowing and no fault."""

    state: State
    meaning: str
    next_command: str


RULES: dict[Kind, Rule] = {
    Kind.NOT_DEPLOYED: Rule(
        State.DOWN, "models.yaml lists it, and the cluster does not have it", "vllm-flows install"
    ),
    Kind.NO_REPLICA: Rule(
        State.DOWN, "no replica is ready; the diagnosis says why", "vllm-flows wait MODEL"
    ),
    Kind.ROUTER_DOWN: Rule(
        State.DOWN, "what stands before all models answers nobody", "vllm-flows router-logs"
    ),
    Kind.NO_ANSWER: Rule(
        State.DOWN, "a replica is ready and cannot be asked", "vllm-flows logs MODEL"
    ),
    Kind.SILENT: Rule(
        State.DOWN, "a request is taken, and no byte comes back", "vllm-flows check MODEL --repair"
    ),
    Kind.WRONG_ANSWER: Rule(
        State.DOWN, "the answer is none, or is refused", "vllm-flows logs MODEL"
    ),
    Kind.WRONG_MODEL: Rule(
        State.DOWN, "the answer is signed with another id", "vllm-flows install"
    ),
    Kind.EMPTY: Rule(State.DOWN, "the answer has no text", "vllm-flows check MODEL --repair"),
    Kind.RUBBISH: Rule(State.DOWN, "the answer is no text", "vllm-flows check MODEL --repair"),
    Kind.NOT_ROUTED: Rule(
        State.DOWN, "its engine answers, and the router does not lead there", "vllm-flows endpoints"
    ),
    Kind.REPLICAS: Rule(
        State.DEGRADED, "fewer replicas are ready than should be", "vllm-flows wait MODEL"
    ),
    Kind.SHAPE: Rule(
        State.DEGRADED,
        "the answers to fixed prompts are not as they were (length, JSON, variety)",
        "vllm-flows test-completions MODEL",
    ),
    Kind.SLOW_START: Rule(
        State.DEGRADED, "the first token comes far later than it used to", "vllm-flows logs MODEL"
    ),
    Kind.SLOW_TOKENS: Rule(
        State.DEGRADED, "tokens come far more slowly than they used to", "vllm-flows logs MODEL"
    ),
    Kind.LOST: Rule(
        State.DEGRADED,
        "the router brings no answer of models that answer themselves",
        "vllm-flows router-logs",
    ),
    Kind.KEY_IGNORED: Rule(
        State.DEGRADED, "who has no API key is answered too", "vllm-flows install"
    ),
    Kind.KEY_REFUSED: Rule(
        State.DEGRADED, "the API key that is stored is not the one it knows", "vllm-flows install"
    ),
    Kind.OTHER_KEY: Rule(
        State.DEGRADED,
        "a replica, or the router, read another API key, when it started, than it was started for",
        "vllm-flows check MODEL --repair",
    ),
    Kind.RESTARTS: Rule(
        State.DEGRADED,
        "containers were started again since the last check",
        "vllm-flows logs MODEL --previous",
    ),
    Kind.ROUTER_ERRORS: Rule(
        State.DEGRADED,
        "requests broke between router and engine since the last check",
        "vllm-flows router-logs",
    ),
    Kind.WEIGHTS: Rule(
        State.DEGRADED,
        "files on its volume are missing or not as they were fetched; what runs goes on until "
        "it is restarted",
        "vllm-flows check MODEL --repair",
    ),
    Kind.VOLUME_FULL: Rule(State.DEGRADED, "its volume has no room left", "vllm-flows prune MODEL"),
    Kind.UNPROVEN: Rule(
        State.DEGRADED,
        "a run was interrupted before it was seen to answer as it is now",
        "vllm-flows update MODEL",
    ),
    Kind.CHANGED_OUTSIDE: Rule(
        State.DEGRADED, "an object of the release is not as helm left it", "vllm-flows plan"
    ),
    Kind.UNFINISHED: Rule(
        State.DEGRADED, "the release is in no state to be relied on", "vllm-flows install"
    ),
    Kind.ACCESS: Rule(
        State.DEGRADED,
        "the Hub no longer lets this token have it; what runs goes on",
        "vllm-flows plan",
    ),
    Kind.TOKEN: Rule(
        State.DEGRADED, "the Hub token is refused, or ends soon", "vllm-flows set-hf-token"
    ),
    Kind.CHANGING: Rule(State.INCONCLUSIVE, "a rollout is under way", "vllm-flows wait MODEL"),
    Kind.NOT_MEASURED: Rule(
        State.INCONCLUSIVE, "it could not be looked at, and may be well", "vllm-flows doctor"
    ),
    Kind.AT_REST: Rule(State.GREEN, "it is to have no replica", "vllm-flows status"),
    Kind.NEWER: Rule(State.GREEN, "its revision has moved on the Hub", "vllm-flows plan"),
    Kind.VOLUME_FILLING: Rule(
        State.GREEN, "its volume has little room left", "vllm-flows prune MODEL"
    ),
}


OF_THE_KEY = {Kind.OTHER_KEY, Kind.KEY_REFUSED}
_OF_A_KEY_TOO = {Kind.NO_ANSWER, Kind.NOT_ROUTED, Kind.ROUTER_DOWN, Kind.UNPROVEN}


@dataclass(frozen=True)
class Finding:
    """One thing that was found: of a model, or of one `replica` of it.

    `next_command` is left out where the kind's own is meant.
    """

    kind: Kind
    what: str
    why: str = ""
    next_command: str = ""
    replica: str = ""

    @property
    def state(self) -> State:
        """What it makes of its model."""
        return RULES[self.kind].state

    @property
    def text(self) -> str:
        """Say it in a line."""
        place = f"replica {self.replica}: " if self.replica else ""
        return " ".join(f"{place}{self.what}{f' ({self.why})' if self.why else ''}".split())

    def next_for(self, subject: str) -> str:
        """Return the command to run."""
        if subject == ROUTER and self.kind is Kind.RESTARTS:
            return "vllm-flows router-logs --previous"
        name = "" if subject.startswith("(") else subject
        return self.next_command or " ".join(
            RULES[self.kind].next_command.replace("MODEL", name).split()
        )


def state_of(findings: Iterable[Finding]) -> State:
    """Return the worst that was found; green when nothing was."""
    return max((one.state for one in findings), key=lambda one: one.badness, default=State.GREEN)


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return them in the order in which a reader needs them: the worst first.

    Before an answer that does not come stands the key that was refused: that is why. Before all
    else stands that what runs is not proven: the command that asks it goes back if it does not do,
    which a key that was refused must not lead to.
    """
    found, kinds = list(findings), list(Kind)
    causes = OF_THE_KEY if any(one.kind in _OF_A_KEY_TOO for one in found) else set()
    return tuple(
        sorted(
            found,
            key=lambda one: (
                one.kind not in causes,
                one.kind is not Kind.UNPROVEN,
                -one.state.badness,
                kinds.index(one.kind),
            ),
        )
    )


@dataclass(frozen=True)
class Checked:
    """What a check found of one model, or of what all models share (`ROUTER`, `HUB`, …).

    `first_token_seconds` and `tokens_per_second` are None where they were not measured; `seconds`
    are how long asking took, once it was its turn. `digest` is that of the configuration asked.
    """

    name: str
    findings: tuple[Finding, ...] = ()
    ready: int = 0
    wanted: int = 0
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    seconds: float = 0.0
    digest: str = ""
    revision: str = ""

    @property
    def state(self) -> State:
        """How it is."""
        return state_of(self.findings)

    @property
    def shared(self) -> bool:
        """Say whether it is no model."""
        return self.name.startswith("(")

    def with_more(self, findings: Iterable[Finding]) -> Checked:
        """Return it with more findings, each once, the worst first."""
        unique = dict.fromkeys([*self.findings, *findings])
        return replace(self, findings=worst_first(unique))


@dataclass(frozen=True)
class Health:
    """What one check found of all: models in their order, then what they share.

    `at` is when it began, in seconds since the epoch, `seconds` how long it took. `repairs` says
    what was done about it, a line each, `mended` of which models it came about; `notes` what a
    reader should know beside.
    """

    at: float
    seconds: float
    checked: tuple[Checked, ...]
    deep: bool = False
    repairs: tuple[str, ...] = field(default=())
    mended: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())

    @property
    def state(self) -> State:
        """The worst of all."""
        return state_of(finding for one in self.checked for finding in one.findings)

    def counts(self) -> dict[State, int]:
        """Return how many models are in each state."""
        states = [one.state for one in self.checked if not one.shared]
        return {state: states.count(state) for state in State}
