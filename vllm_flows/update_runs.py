"""Whether the update that an event began is at work, came to an end, or died. Pure.

A run that is killed with its machine stays pending or running on the Prefect server; while it
lives, it is heard of every few minutes. An event may also lead to no run: the server keeps what an
automation is about to do in its memory alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from vllm_flows.revision_memory import Seen, Told

SILENT_SECONDS = 540.0
"""Three heartbeats of a run (PREFECT_FLOWS_HEARTBEAT_FREQUENCY, 180 s): as long as the automation
of `zombies.yaml` waits."""

_LIVES = {"PENDING", "RUNNING"}
_SCHEDULED = "SCHEDULED"
_WAITS = "PAUSED"
_DIED = "CRASHED"
_CANCELLED = "CANCELLED"


@dataclass(frozen=True)
class UpdateRun:
    """A run of the flow `update`: for what, its state's type, when it was heard of last.

    `heard` is in seconds since the epoch. `agreed`: somebody did before it was scheduled.
    """

    id: str
    model: str
    namespace: str
    revision: str
    state: str
    heard: float
    agreed: bool = False

    def may_be_dead(self, now: float) -> bool:
        """Say whether it should be at work, and was not heard of for long."""
        return self.state in _LIVES and now - self.heard > SILENT_SECONDS


def older_forms(
    runs: Iterable[UpdateRun], namespace: str, model: str, newest: str
) -> list[UpdateRun]:
    """Return the runs that wait for somebody's word about a model, but for the newest (its id)."""
    return [
        run
        for run in runs
        if (run.state, run.namespace, run.model) == (_WAITS, namespace, model) and run.id != newest
    ]


def unanswered(
    runs: Iterable[UpdateRun], namespace: str, limit: float, now: float
) -> list[UpdateRun]:
    """Return the runs that have waited for somebody's word for longer than `limit` seconds."""
    return [
        run
        for run in runs
        if (run.state, run.namespace) == (_WAITS, namespace) and now - run.heard > limit
    ]


def is_agreed(runs: Iterable[UpdateRun], namespace: str, model: str, revision: str) -> bool:
    """Say whether a run that somebody agreed to waits for its time, for that commit."""
    wanted = (_SCHEDULED, namespace, model, revision)
    found = [run for run in runs if (run.state, run.namespace, run.model, run.revision) == wanted]
    return any(run.agreed for run in found)


def may_have_died(seen: Iterable[Seen], told: Mapping[str, Told], now: float) -> dict[str, Told]:
    """Return, by model, what the server has, should have led to an update by now, and has not."""
    return {
        one.model: told[one.model]
        for one in seen
        if one.to_roll_out
        and one.model in told
        and told[one.model].arrived
        and not told[one.model].is_held(now)
    }


def died(
    told: Mapping[str, Told],
    runs: Collection[UpdateRun],
    namespace: str,
    now: float,
    unproven: Collection[str] = (),
) -> frozenset[str]:
    """Return the models whose update is at no work, and came to no end of its own.

    What failed, was cancelled, or found nothing to do has its end. Of those `unproven`, which run a
    commit that was not seen to answer, a cancelled one has none. Where none lives or waits, the one
    that was heard of last tells: one that ends well may have left the rest to it.
    """
    return frozenset(
        model
        for model, one in told.items()
        if _has_died(
            [
                run
                for run in runs
                if (run.model, run.namespace, run.revision) == (model, namespace, one.new)
            ],
            {_DIED, _CANCELLED} if model in unproven else {_DIED},
            now,
        )
    )


def _has_died(runs: Collection[UpdateRun], dead: Collection[str], now: float) -> bool:
    """Say whether none of these runs is at work, waits, or came to an end after all others."""
    if any(run.state in {*_LIVES, _SCHEDULED, _WAITS} and not run.may_be_dead(now) for run in runs):
        return False
    last = max(runs, key=lambda run: run.heard, default=None)
    return last is None or last.state in dead or last.may_be_dead(now)
