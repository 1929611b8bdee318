"""A model's new replicas tried beside what stays, to see if they have room. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vllm_flows.capacity import Wanted, find_room, parting
from vllm_flows.desired import Desired
from vllm_flows.errors import PlacementError
from vllm_flows.models import Model
from vllm_flows.observed import ClusterState
from vllm_flows.placement import Placement
from vllm_flows.plan import Action
from vllm_flows.rollout import Replicas


@dataclass(frozen=True)
class Moving:
    """A model that the run acts on; `small_gpus` are hosts whose GPUs do not do, and why."""

    model: Model
    action: Action
    small_gpus: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tried:
    """New replicas of a model beside those of its pods that run."""

    moving: Moving
    new: int
    running: int


@dataclass(frozen=True)
class Trial:
    """The cluster as it is once everything that stays has its room."""

    staying: Sequence[Wanted]
    stays: Mapping[str, int]
    desired: Desired
    state: ClusterState

    def place(self, tried: Sequence[Tried]) -> dict[str, Placement]:
        """Place models' new replicas beside those that run, without pushing others out."""
        names = {one.moving.model.name for one in tried}
        others = [one for one in self.staying if one.model.name not in names]
        wanted = [Wanted(one.moving.model, one.new, one.moving.small_gpus) for one in tried]
        stays = {**self.stays, **{one.moving.model.name: one.running for one in tried}}
        found = find_room([*others, *wanted], stays, self.desired.settings, self.state)
        pushed = [found[one.model.name] for one in others if one.model.name in found]
        problem = next((one.problem for one in pushed if one.problem), None)
        return {name: _unless(problem, found.get(name, Placement())) for name in names}

    def consents(self, model: Model) -> bool:
        """Say whether somebody agreed that the model does not answer for a while."""
        return model.allow_downtime or self.desired.allow_downtime

    def may_stop(self, moving: Moving) -> bool:
        """Say whether the model may end before its successor starts: agreed, or nothing lost."""
        return self.consents(moving.model) or not self.replicas(moving).ready

    @property
    def blind(self) -> bool:
        """Whether this account may not see what is free."""
        return self.state.around.nodes is None or self.state.around.pods is None

    def stops_for(self, model: Model) -> bool:
        """Say whether the model may end first although a surge may find room.

        Where nodes come when pods wait one does in the end: there only models.yaml's own word for
        the model counts, which is for those that know their nodes to be used up.
        """
        return model.allow_downtime or (
            self.desired.allow_downtime and not self.desired.settings.autoscaling
        )

    def parts(self, model: Model) -> bool:
        """Say whether a new pod beside the old one may come to where the volume is not."""
        return bool(parting(model, self.desired.settings, self.state))

    def replicas(self, moving: Moving) -> Replicas:
        """Return the model's replicas. Scaled before its pods are replaced, so many of them run."""
        deployed, wanted = self.state.deployments[moving.model.name], moving.model.replica_count
        return Replicas(wanted, wanted if deployed.replicas else 0, deployed.ready)

    def tried(self, moving: Moving, new: int, left: int) -> Tried:
        """Return so many new replicas beside so many old ones, those to be added among the new."""
        there = min(left, self.state.deployments[moving.model.name].replicas)
        return Tried(moving, new + left - there, there)


def _unless(problem: PlacementError | None, mine: Placement) -> Placement:
    found = mine.problem or problem
    return mine if found is None else Placement(problem=found)
