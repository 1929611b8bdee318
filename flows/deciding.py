"""What a run is to do: decided once before the lock, and once more under it."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.planning import observe_cluster, show_plan
from tasks.running import say
from vllm_flows.observed import Verdict
from vllm_flows.planning import Aim, Decision, decide
from vllm_flows.session import Session


def decided(session: Session, aim: Aim, verdicts: Sequence[Verdict]) -> Decision:
    """Look at the cluster, make the plan and show it.

    Raises BlockedError when a model must not be touched, StalePlanError when another plan was
    agreed to.
    """
    decision = decide(session, aim, verdicts, observe_cluster(session))
    show_plan(decision.plan)
    decision.check(aim)
    return decision


def decided_again(
    session: Session, aim: Aim, verdicts: Sequence[Verdict], before: Decision
) -> Decision:
    """Look once more, now that nobody else writes; another plan than before is shown again."""
    decision = decide(session, aim, verdicts, observe_cluster(session))
    if decision.fingerprint != before.fingerprint:
        say("the cluster has changed meanwhile")
        show_plan(decision.plan)
    decision.check(aim)
    return decision
