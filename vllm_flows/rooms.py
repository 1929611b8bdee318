"""Where the pods of a run go, and how each model that changes comes to its new ones. Pure.

New replicas (of new models, and more of those there are) stay, so they find room together. A model
whose pods are replaced does so while no other does: it is tried alone, beside all that stays. Only
what changes for all engines replaces them at once, and then they are tried together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from vllm_flows.capacity import Wanted, find_room
from vllm_flows.desired import Desired
from vllm_flows.errors import DowntimeError, PlacementError, QuotaError
from vllm_flows.models import Model
from vllm_flows.observed import ClusterState
from vllm_flows.placement import Placement
from vllm_flows.plan import Action
from vllm_flows.rollout import (
    AT_REST,
    Replicas,
    Rollout,
    Strategy,
    choose_rollout,
    choose_together,
)

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
class _Tried:
    """New replicas of a model beside those of its pods that run."""

    moving: Moving
    new: int
    running: int


@dataclass(frozen=True)
class _Trial:
    """The cluster as it is once everything that stays has its room."""

    staying: Sequence[Wanted]
    stays: Mapping[str, int]
    desired: Desired
    state: ClusterState

    def place(self, tried: Sequence[_Tried]) -> dict[str, Placement]:
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

    def replicas(self, moving: Moving) -> Replicas:
        """Return the model's replicas. Scaled before its pods are replaced, so many of them run."""
        deployed, wanted = self.state.deployments[moving.model.name], moving.model.replica_count
        return Replicas(wanted, wanted if deployed.replicas else 0, deployed.ready)

    def tried(self, moving: Moving, new: int, left: int) -> _Tried:
        """Return so many new replicas beside so many old ones, those to be added among the new."""
        there = min(left, self.state.deployments[moving.model.name].replicas)
        return _Tried(moving, new + left - there, there)


def _unless(problem: PlacementError | None, mine: Placement) -> Placement:
    found = mine.problem or problem
    return mine if found is None else Placement(problem=found)


def find_rooms(
    moving: Sequence[Moving],
    gone: Collection[str],
    desired: Desired,
    state: ClusterState,
    *,
    together: bool = False,
) -> dict[str, Room]:
    """Return the room of each model that the run acts on; models that are `gone` end.

    `together`: those whose pods are replaced are all replaced at once, in the same way.
    """
    staying = [Wanted(one.model, _added(one, state), one.small_gpus) for one in moving]
    stays = dict.fromkeys(gone, 0) | _fewer(moving, state)
    first = find_room(staying, stays, desired.settings, state)
    places = {one.model.name: first.get(one.model.name, Placement()) for one in moving}
    found = {name: Room(place.nodes, problem=place.problem) for name, place in places.items()}
    replaced = [
        one for one in moving if one.action in _REPLACED and not found[one.model.name].problem
    ]
    trial = _Trial(
        [one for one in staying if not places[one.model.name].problem], stays, desired, state
    )
    if together:
        found |= _joint(replaced, trial)
    else:
        found |= {one.model.name: _replacement(one, trial) for one in replaced}
    if desired.settings.autoscaling:
        return {name: _waiting(room) for name, room in found.items()}
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


def _fixed(model: Model, trial: _Trial) -> Rollout | None:
    """Return how the model's pods are replaced where the room is no question."""
    around = trial.state.around
    if not model.replica_count:
        return AT_REST
    if around.nodes is None or around.pods is None:
        return AT_REST  # the room is not known: as little as possible is asked for
    if trial.desired.settings.autoscaling:
        return Rollout(Strategy.SURGE, model.replica_count)
    return None


def _replacement(moving: Moving, trial: _Trial) -> Room:
    """Choose how the model's pods are replaced, and say why not where that takes a yes."""
    model, replicas = moving.model, trial.replicas(moving)
    if fixed := _fixed(model, trial):
        return Room(rollout=fixed)

    def place(new: int, left: int) -> Placement:
        return trial.place([trial.tried(moving, new, left)])[model.name]

    rollout = choose_rollout(
        lambda new, left: place(new, left).problem is None,
        replicas.wanted,
        replicas.running,
        replicas.ready,
    )
    if rollout is None:
        return Room(problem=place(replicas.wanted, 0).problem)
    stop = rollout.strategy is Strategy.STOP_FIRST
    beside = place(replicas.wanted if stop else rollout.surge, 0 if stop else replicas.running)
    problem = None
    if rollout.downtime and not trial.consents(model):
        problem = _downtime(model, place(1, replicas.running).problem)
    return Room(beside.nodes, rollout, problem)


def _joint(moving: Sequence[Moving], trial: _Trial) -> dict[str, Room]:
    """Choose how the pods of several models are replaced at once; each that is silent needs a yes.

    The room is tried for all of them together: which of them comes first is not known.
    """
    fixed = {one.model.name: _fixed(one.model, trial) for one in moving}
    asked = [one for one in moving if fixed[one.model.name] is None]
    found = {name: Room(rollout=rollout) for name, rollout in fixed.items() if rollout}
    replicas = [trial.replicas(one) for one in asked]
    way = choose_together(lambda way: _fits(asked, way, trial), replicas)
    last = trial.place(_steps(asked, way or Strategy.STOP_FIRST, trial)[-1]) if asked else {}
    beside = trial.place(_steps(asked, Strategy.SURGE, trial)[0]) if asked else {}
    for one, counts in zip(asked, replicas, strict=True):
        name = one.model.name
        if way is None:
            found[name] = Room(problem=last[name].problem)
            continue
        silent = counts.silent(way)
        rollout = Rollout(way, 1 if way is Strategy.SURGE else 0, silent)
        refused = silent and not trial.consents(one.model)
        problem = _downtime(one.model, beside[name].problem) if refused else None
        found[name] = Room(last[name].nodes, rollout, problem)
    return found


def _fits(moving: Sequence[Moving], way: Strategy, trial: _Trial) -> bool:
    tries = [trial.place(step) for step in _steps(moving, way, trial)]
    return not any(place.problem for tried in tries for place in tried.values())


def _steps(moving: Sequence[Moving], way: Strategy, trial: _Trial) -> list[list[_Tried]]:
    """Return the steps in which all models are replaced at once; who is through waits."""
    each = [(one, trial.replicas(one).steps(way)) for one in moving]
    most = max((len(steps) for _, steps in each), default=0)
    return [
        [trial.tried(one, *steps[min(number, len(steps) - 1)]) for one, steps in each]
        for number in range(most)
    ]


def _downtime(model: Model, why: PlacementError | None) -> DowntimeError:
    return DowntimeError(
        "no room beside what runs: it would not answer from when it stops until the new one does",
        why=why.why if why else "",
        next_command="run this again with --allow-downtime, or set allowDowntime: true in "
        "models.yaml; or make room for one replica more",
        model=model.name,
    )


def _waiting(room: Room) -> Room:
    """Where nodes come when pods wait, no room on them now is only told."""
    if room.problem is None or isinstance(room.problem, DowntimeError | QuotaError):
        return room
    return Room(room.nodes, room.rollout, notes=(f"waits for a node: {room.problem.what}",))
