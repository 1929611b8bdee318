"""Where the pods of a run go, and how each model that changes comes to its new ones. Pure.

New replicas (of new models, and more of those there are) stay, so they find room together. A model
whose pods are replaced does so while no other does: it is tried alone, beside all that stays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from vllm_flows.capacity import Wanted, find_room
from vllm_flows.desired import Desired
from vllm_flows.errors import DowntimeError, PlacementError
from vllm_flows.models import Model
from vllm_flows.observed import ClusterState
from vllm_flows.placement import Placement
from vllm_flows.plan import Action
from vllm_flows.rollout import AT_REST, Rollout, Strategy, choose_rollout

_REPLACED = {Action.UPDATE, Action.RESTART}


@dataclass(frozen=True)
class Moving:
    """A model that the run acts on; `small_gpus` are hosts whose GPUs do not do, and why."""

    model: Model
    action: Action
    small_gpus: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Room:
    """Where a model's new pods go; `rollout` says how they replace those that run, if any do."""

    nodes: tuple[str, ...] = ()
    rollout: Rollout | None = None
    problem: PlacementError | None = None
    notes: tuple[str, ...] = ()

    @property
    def placement(self) -> Placement:
        """Return the nodes and the problem alone."""
        return Placement(self.nodes, self.problem)


@dataclass(frozen=True)
class _Trial:
    """The cluster as it is once everything that stays has its room."""

    staying: Sequence[Wanted]
    stays: Mapping[str, int]
    desired: Desired
    state: ClusterState

    def place(self, moving: Moving, replicas: int, running: int) -> Placement:
        """Place so many replicas beside so many of those that run, without pushing others out."""
        tried = Wanted(moving.model, replicas, moving.small_gpus)
        others = [one for one in self.staying if one.model.name != moving.model.name]
        stays = {**self.stays, moving.model.name: running}
        found = find_room([*others, tried], stays, self.desired.settings, self.state)
        pushed = [found[one.model.name] for one in others if one.model.name in found]
        mine = found.get(moving.model.name, Placement())
        problem = mine.problem or next((one.problem for one in pushed if one.problem), None)
        return mine if problem is None else Placement(problem=problem)


def find_rooms(
    moving: Sequence[Moving], gone: Collection[str], desired: Desired, state: ClusterState
) -> dict[str, Room]:
    """Return the room of each model that the run acts on; models that are `gone` end."""
    staying = [Wanted(one.model, _added(one, state), one.small_gpus) for one in moving]
    stays = dict.fromkeys(gone, 0) | _fewer(moving, state)
    together = find_room(staying, stays, desired.settings, state)
    found = {}
    for one in moving:
        place = together.get(one.model.name, Placement())
        room = Room(place.nodes, problem=place.problem)
        if room.problem is None and one.action in _REPLACED:
            placed = {name for name, other in together.items() if other.problem is None}
            others = [other for other in staying if other.model.name in placed]
            room = _replacement(one, _Trial(others, stays, desired, state))
        found[one.model.name] = _waiting(room) if desired.settings.autoscaling else room
    return found


def _added(moving: Moving, state: ClusterState) -> int:
    """Return the replicas that are new, and stay."""
    deployed = state.deployments.get(moving.model.name)
    return max(0, moving.model.replica_count - (deployed.replicas if deployed else 0))


def _fewer(moving: Sequence[Moving], state: ClusterState) -> dict[str, int]:
    """Return how many of its pods each model keeps that gets fewer replicas in this run.

    A Deployment whose pods change as well is first scaled down, and then rolled.
    """
    wanted = {one.model.name: one.model.replica_count for one in moving}
    return {
        name: count
        for name, count in wanted.items()
        if name in state.deployments and count < state.deployments[name].replicas
    }


def _replacement(moving: Moving, trial: _Trial) -> Room:
    """Choose how the model's pods are replaced, and say why not where that takes a yes."""
    model, deployed = moving.model, trial.state.deployments[moving.model.name]
    around, replicas = trial.state.around, model.replica_count
    if not replicas:
        return Room(rollout=AT_REST)
    if around.nodes is None or around.pods is None:
        return Room(rollout=AT_REST)  # the room is not known: as little as possible is asked for
    if trial.desired.settings.autoscaling:
        return Room(rollout=Rollout(Strategy.SURGE, replicas))
    # Scaled before its pods are replaced: then so many of the old ones run.
    running = replicas if deployed.replicas else 0

    def place(new: int, left: int) -> Placement:
        there = min(left, deployed.replicas)
        return trial.place(moving, new + left - there, there)

    rollout = choose_rollout(
        lambda new, left: place(new, left).problem is None, replicas, running, deployed.ready
    )
    if rollout is None:
        return Room(problem=place(replicas, 0).problem)
    stop = rollout.strategy is Strategy.STOP_FIRST
    beside = place(replicas if stop else rollout.surge, 0 if stop else running)
    problem = None
    if rollout.downtime and not (model.allow_downtime or trial.desired.allow_downtime):
        problem = _downtime(model, place(1, running).problem)
    return Room(beside.nodes, rollout, problem)


def _downtime(model: Model, why: PlacementError | None) -> DowntimeError:
    return DowntimeError(
        "no room beside what runs: it would not answer from when it stops until the new one does",
        why=why.why if why else "",
        next_command="run this again with --allow-downtime, or set allowDowntime: true in "
        "models.yaml; or make room for one replica more",
        model=model.name,
    )


def _waiting(room: Room) -> Room:
    """Where nodes come when pods wait, no room now is only told."""
    if room.problem is None or isinstance(room.problem, DowntimeError):
        return room
    return Room(room.nodes, room.rollout, notes=(f"waits for a node: {room.problem.what}",))
