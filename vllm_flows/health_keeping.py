"""Keeping what a health check remembers: in a ConfigMap of the namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vllm_flows.errors import ConflictError, VllmFlowsError
from vllm_flows.health_checking import Outcome
from vllm_flows.health_events import Change, with_told
from vllm_flows.health_memory import CONFIG_MAP, Memory, config_map, to_write
from vllm_flows.health_repairs import Result
from vllm_flows.session import Session


@dataclass(frozen=True)
class Kept:
    """What was kept, or why nothing was: the check counts all the same."""

    memories: Mapping[str, Memory]
    error: VllmFlowsError | None = None


def keep(session: Session, outcome: Outcome, told: Sequence[Change] | None, *, whole: bool) -> Kept:
    """Remember the outcome; `told` are the changes that events were sent of, None where none are.

    `whole`: all models were checked, so what else is remembered belongs to models that are gone.
    Only the entries of these models are written: checks of others may be under way.
    """
    memories = dict(outcome.memories if told is None else with_told(outcome.memories, told))
    gone = outcome.seen.memories.keys() - memories.keys() if whole else ()
    data = to_write(memories, gone, outcome.seen.runs, outcome.health if whole else None)
    if not outcome.memories:  # the cluster was silent: nothing was learnt
        return Kept(memories)
    try:
        _write(session, data, there=outcome.seen.there)
    except VllmFlowsError as error:
        return Kept(memories, error)
    return Kept(memories)


def with_repairs(outcome: Outcome, results: Sequence[Result]) -> Outcome:
    """Return the outcome with what came of repairs: how often is remembered too."""
    memories, of = dict(outcome.memories), {one.repair.model: one for one in results}
    for name, one in of.items():
        if one.tried:
            done = (outcome.health.at, str(one.repair.way))
            memories[name] = replace(memories[name], repairs=(*memories[name].repairs, done))
    checked = (of[one.name].on(one) if one.name in of else one for one in outcome.health.checked)
    health = replace(
        outcome.health,
        checked=tuple(checked),
        repairs=tuple(one.text for one in results),
        mended=tuple(name for name, one in of.items() if not one.why),
    )
    return replace(outcome, memories=memories, health=health)


def _write(session: Session, data: Mapping[str, str | None], *, there: bool) -> None:
    if not there:
        try:
            session.cluster.create(config_map(data))
        except ConflictError:  # another check was quicker
            pass
        else:
            return
    session.cluster.merge("ConfigMap", CONFIG_MAP, {"data": dict(data)})
