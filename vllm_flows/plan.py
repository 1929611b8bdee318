"""What a run is going to do, as data: one step for each model, and why the release changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vllm_flows.errors import BlockedError, NoRightError, VllmFlowsError
from vllm_flows.fit import Fit
from vllm_flows.observed import Verdict
from vllm_flows.rollout import Rollout
from vllm_flows.weights_manifests import WeightsOrder


class Action(StrEnum):
    """What happens to one model."""

    CREATE = "create"
    UPDATE = "update"
    RESTART = "restart"
    SCALE = "scale"
    PROVE = "prove"
    DESTROY = "destroy"
    NONE = "none"
    BLOCKED = "blocked"


STAYING = frozenset({Action.PROVE, Action.NONE})
"""What leaves a model deployed as it is."""


class ClaimAction(StrEnum):
    """What happens to the claim that holds a model's weights."""

    CREATE = "create"
    GROW = "grow"
    NONE = "none"


@dataclass(frozen=True)
class Step:
    """What happens to one model, its weights and its claim, and why.

    `verdict` is the Hub's, None for a model that is no longer listed; `fit` says how the model
    stands to the GPUs' memory. `order` is there when the commit is not complete on the volume;
    `download_bytes` of it are yet to be fetched. `nodes` are those that have room for the new
    replicas, as many as there are to be placed; `rollout` says how they replace the old ones.
    With `problems` the model is blocked, and `wanted` is what would be done without them, None
    where that is not known; `notes` are what a reader should know beside them.
    """

    model: str
    action: Action
    reason: str
    repository: str = ""
    commit: str = ""
    gpus: int = 0
    download_bytes: int = 0
    claim: ClaimAction = ClaimAction.NONE
    order: WeightsOrder | None = None
    verdict: Verdict | None = None
    fit: Fit | None = None
    nodes: tuple[str, ...] = ()
    rollout: Rollout | None = None
    wanted: Action | None = None
    problems: tuple[VllmFlowsError, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a run is going to do; `release_reason` is empty when the release stays as it is.

    `notes` concern the cluster as a whole. `replaced` are the Deployments that are made anew, as
    they select other pods; `together`: what changes for all engines, so all of them change at once.
    `unfinished`: an interrupted run left what has to be dealt with.
    `refusal`: this account lacks a right that the changes take.
    """

    steps: tuple[Step, ...]
    release_reason: str
    notes: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    together: bool = False
    unfinished: bool = False
    refusal: NoRightError | None = None

    @property
    def changes(self) -> bool:
        """Say whether anything is to be written, if only that a model was seen to answer."""
        return (
            bool(self.release_reason)
            or self.unfinished
            or any(
                step.order or step.claim is not ClaimAction.NONE or step.action is Action.PROVE
                for step in self.steps
            )
        )

    @property
    def blocked(self) -> list[Step]:
        """The models that something stands against."""
        return [step for step in self.steps if step.problems]

    def raise_if_blocked(self) -> None:
        """Raise BlockedError with all problems of every blocked model, if there is one.

        Raises NoRightError when this account may not do what the plan says.
        """
        blocked = self.blocked
        if not blocked:
            if self.refusal:
                raise self.refusal
            return
        listed = [step for step in self.steps if step.action is not Action.DESTROY]
        problems = [problem for step in blocked for problem in step.problems]
        raise BlockedError(
            f"{len(blocked)} of {len(listed)} models cannot be served; nothing was changed",
            why="\n".join(map(_with_the_way_out, problems)),
        )


def _with_the_way_out(problem: VllmFlowsError) -> str:
    """Say one model's problem, and below it what to do about that one."""
    subject = f"{problem.model}: {problem.what}" if problem.model else problem.what
    why = f" ({problem.why})" if problem.why else ""
    return f"{subject}{why}" + (f"\n  next: {problem.next_command}" if problem.next_command else "")
