"""Keeping what a health check remembers: in a ConfigMap of the namespace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from vllm_flows.errors import ClusterError, ConflictError, NotDeployedError, VllmFlowsError
from vllm_flows.health_baseline import renewed
from vllm_flows.health_checking import Outcome
from vllm_flows.health_events import Change, key_of, with_told
from vllm_flows.health_memory import (
    CONFIG_MAP,
    NOTHING,
    Baseline,
    Memory,
    config_map,
    memories,
    to_write,
)
from vllm_flows.health_repairs import Result
from vllm_flows.session import Session

_TRIES = 8


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
    found = dict(outcome.memories if told is None else with_told(outcome.memories, told))
    before = outcome.seen.memories
    gone = before.keys() - found.keys() if whole else ()

    def entries(now: Mapping[str, Memory]) -> dict[str, str | None]:
        kept = {
            name: _with_newer(one, before.get(name), now.get(name)) for name, one in found.items()
        }
        return to_write(kept, gone, outcome.seen.runs, outcome.health if whole else None)

    if not outcome.memories:  # the cluster was silent: nothing was learnt
        return Kept(found)
    try:
        _write(session, entries)
    except VllmFlowsError as error:
        return Kept(found, _missing(session) or error)
    return Kept(found)


def _missing(session: Session) -> NotDeployedError | None:
    """Return that there is no namespace to remember anything in, where that is so."""
    namespace = session.settings.namespace
    try:
        if session.cluster.get("Namespace", namespace):
            return None
    except ClusterError:
        return None
    return NotDeployedError(f"there is no namespace {namespace}", next_command="vllm-flows install")


def keep_baseline(session: Session, model: str, measured: Baseline) -> None:
    """Remember how a model answers that was just brought to a configuration; nothing else of it.

    Raises ClusterError.
    """

    def entries(now: Mapping[str, Memory]) -> dict[str, str | None]:
        memory = now.get(model, NOTHING)
        of = (measured.digest, measured.speed, measured.shapes)
        memory = replace(memory, baseline=renewed(memory.baseline, *of, findings=()))
        return to_write({model: memory}, (), (), None)

    _write(session, entries)


def _with_newer(found: Memory, seen: Memory | None, now: Memory | None) -> Memory:
    """Return what a check found, with the baseline that an update has kept since it began."""
    if now is None or now.baseline is None:
        return found
    known = seen.baseline.digest if seen and seen.baseline else ""
    return replace(found, baseline=now.baseline) if now.baseline.digest != known else found


def with_repairs(outcome: Outcome, results: Sequence[Result]) -> Outcome:
    """Return the outcome with what came of repairs: how often is remembered too."""
    memories, of = dict(outcome.memories), {one.repair.model: one for one in results}
    for name, one in of.items():
        if one.tried:
            done = (outcome.health.at, one.repair.mark)
            key = key_of(name)
            memories[key] = replace(memories[key], repairs=(*memories[key].repairs, done))
    checked = (of[one.name].on(one) if one.name in of else one for one in outcome.health.checked)
    health = replace(
        outcome.health,
        checked=tuple(checked),
        repairs=tuple(one.text for one in results),
        mended=tuple(name for name, one in of.items() if not one.why),
    )
    return replace(outcome, memories=memories, health=health)


def _write(
    session: Session, entries: Callable[[Mapping[str, Memory]], Mapping[str, str | None]]
) -> None:
    """Write entries made from what is remembered now, unless others write at the same moment."""
    for tries in range(_TRIES, 0, -1):
        there = session.cluster.get("ConfigMap", CONFIG_MAP)
        data = dict(entries(memories(there)))
        try:
            if there is None:
                session.cluster.create(config_map(data))
            else:
                version = {"resourceVersion": there["metadata"]["resourceVersion"]}
                session.cluster.merge("ConfigMap", CONFIG_MAP, {"metadata": version, "data": data})
        except ConflictError:
            if tries == 1:
                raise
        else:
            return
