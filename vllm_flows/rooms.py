"""Where the pods of a run go, and how each model that changes comes to its new ones. Pure.

New replicas (of new models, and more of those there are) stay, so they find room together. A model
whose pods are replaced does so while no other does: it is tried alone, beside all that stays. Only
what changes for all engines replaces them at once, and then they are tried together.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

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
from vllm_flows.trials import Moving, Trial, Tried

_REPLACED = {Action.UPDATE, Action.RESTART}
_MAY_LACK_ROOM = (
    "this account may not see what is free: the new replica may find no room, and the change would "
    "go back; with --allow-downtime, or allowDowntime: true in models.yaml, the old one stops first"
)


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
    trial = Trial(
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


def _fixed(moving: Sequence[Moving], trial: Trial) -> dict[str, Room]:
    """Return how the pods of models are replaced at once where the room is no question."""
    found = {one.model.name: Room(rollout=AT_REST) for one in moving if not one.model.replica_count}
    asked = [one for one in moving if one.model.replica_count]
    if trial.blind:
        return found | _unseen(asked, trial)
    autoscaling = trial.desired.settings.autoscaling
    if autoscaling and not all(trial.stops_for(one.model) for one in asked):
        found |= {one.model.name: _surge(one.model) for one in asked}
    return found


def _surge(model: Model) -> Room:
    """Return the room of all new replicas beside the old ones, on nodes that are or will be."""
    return Room(rollout=Rollout(Strategy.SURGE, model.replica_count))


def _unseen(moving: Sequence[Moving], trial: Trial) -> dict[str, Room]:
    """Return how pods are replaced where nobody knows what is free.

    As little as possible is asked for: one replica more, none where all that answer may stop.
    """
    counts = {one.model.name: trial.replicas(one) for one in moving}
    agreed = all(trial.stops_for(one.model) or not counts[one.model.name].ready for one in moving)
    harder = choose_together(lambda way: way is not Strategy.SURGE, counts.values())
    way = harder if agreed and harder else Strategy.SURGE
    told = way is Strategy.SURGE and not trial.desired.settings.autoscaling
    return {
        name: Room(
            rollout=_rollout(way, one), notes=(_MAY_LACK_ROOM,) if told and one.ready else ()
        )
        for name, one in counts.items()
    }


def _rollout(way: Strategy, replicas: Replicas) -> Rollout:
    return Rollout(way, 1 if way is Strategy.SURGE else 0, replicas.silent(way))


def _replacement(moving: Moving, trial: Trial) -> Room:
    """Choose how the model's pods are replaced, and say why not where that takes a yes."""
    model, replicas = moving.model, trial.replicas(moving)
    if fixed := _fixed([moving], trial):
        return fixed[model.name]

    def place(new: int, left: int) -> Placement:
        return trial.place([trial.tried(moving, new, left)])[model.name]

    rollout = choose_rollout(
        lambda new, left: place(new, left).problem is None,
        replicas.wanted,
        replicas.running,
        replicas.ready,
    )
    if rollout is None:
        waits = trial.desired.settings.autoscaling
        return _surge(model) if waits else Room(problem=place(replicas.wanted, 0).problem)
    if rollout.surge and trial.may_stop(moving) and trial.parts(model):
        rollout = _rollout(Strategy.STOP_FIRST, replicas)
    stop = rollout.strategy is Strategy.STOP_FIRST
    beside = place(replicas.wanted if stop else rollout.surge, 0 if stop else replicas.running)
    problem = None
    if rollout.downtime and not trial.consents(model):
        problem = _downtime(model, place(1, replicas.running).problem)
    return Room(beside.nodes, rollout, problem)


def _joint(moving: Sequence[Moving], trial: Trial) -> dict[str, Room]:
    """Choose how the pods of several models are replaced at once; each that is silent needs a yes.

    The room is tried for all of them together: which of them comes first is not known.
    """
    found = _fixed(moving, trial)
    asked = [one for one in moving if one.model.name not in found]
    replicas = [trial.replicas(one) for one in asked]
    way = choose_together(lambda way: _does(asked, way, trial), replicas)
    last = trial.place(_steps(asked, way or Strategy.STOP_FIRST, trial)[-1]) if asked else {}
    beside = trial.place(_steps(asked, Strategy.SURGE, trial)[0]) if asked else {}
    # One limit is for all of them: as many as the largest needs, where all fit beside all.
    whole = way is Strategy.SURGE and _all_beside(asked, trial)
    surge = max((one.wanted for one in replicas), default=1) if whole else 1
    for one, counts in zip(asked, replicas, strict=True):
        name = one.model.name
        if way is None:
            found[name] = Room(problem=last[name].problem)
            continue
        rollout = _rollout(way, counts)
        rollout = replace(rollout, surge=surge) if rollout.surge else rollout
        refused = rollout.downtime and not trial.consents(one.model)
        problem = _downtime(one.model, beside[name].problem) if refused else None
        found[name] = Room(last[name].nodes, rollout, problem)
    return found


def _all_beside(moving: Sequence[Moving], trial: Trial) -> bool:
    """Say whether all new replicas of all models have room beside all old ones."""
    counts = [(one, trial.replicas(one)) for one in moving]
    found = trial.place([trial.tried(one, each.wanted, each.running) for one, each in counts])
    return not any(place.problem for place in found.values())


def _does(moving: Sequence[Moving], way: Strategy, trial: Trial) -> bool:
    """Say whether models can be replaced at once this way.

    Where a volume may keep new pods from starting beside the old ones, and all may end first,
    they do not surge.
    """
    apart = any(trial.parts(one.model) for one in moving)
    if way is Strategy.SURGE and apart and all(map(trial.may_stop, moving)):
        return False
    return _fits(moving, way, trial)


def _fits(moving: Sequence[Moving], way: Strategy, trial: Trial) -> bool:
    tries = [trial.place(step) for step in _steps(moving, way, trial)]
    return not any(place.problem for tried in tries for place in tried.values())


def _steps(moving: Sequence[Moving], way: Strategy, trial: Trial) -> list[list[Tried]]:
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
