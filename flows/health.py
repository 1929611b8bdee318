"""The health check: all models asked, compared with what they were, and what changed told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.running import locked, run_name, session_for
from tasks.health import check, mend, remember, show, tell
from tasks.masked_pickle import RESULTS
from tasks.running import say
from vllm_flows.errors import LockedError, VllmFlowsError
from vllm_flows.health import Health
from vllm_flows.health_checking import Outcome
from vllm_flows.health_choosing import chosen
from vllm_flows.health_events import changes
from vllm_flows.health_keeping import with_repairs
from vllm_flows.health_memory import runs_with
from vllm_flows.health_repairs import Repair, Result, choose
from vllm_flows.metrics import of_health
from vllm_flows.models import Model
from vllm_flows.session import Session


@flow(name="health", flow_run_name=run_name, result_serializer=RESULTS)
def health(
    models: list[str] | None = None,
    namespace: str | None = None,
    kube_context: str | None = None,
    models_file: str | None = None,
    repairs_at_most: Annotated[int, Field(ge=1, le=20)] = 3,
    *,
    deep: bool = False,
    repair: bool = False,
) -> Health:
    """Check the health of all models, show it, and send an event for each change of state.

    Args:
        models: Names of models; leave out for all that are listed or deployed.
        namespace: Kubernetes namespace; leave out for VLLM_NAMESPACE.
        kube_context: kubeconfig context; leave out for VLLM_KUBE_CONTEXT.
        models_file: Path on the machine that runs the flow; leave out for VLLM_MODELS_FILE.
        repairs_at_most: Repairs of one run, where they are wanted.
        deep: Read all weights on the volumes, and compare their hashes.
        repair: Restart a replica that does not answer or holds another API key, and a router that
            does; fetch damaged files anew.

    """
    whole = not models
    with session_for(
        namespace=namespace, kube_context=kube_context, models_file=models_file
    ) as session:
        asked = chosen(session, models or [])
        outcome = check(session, asked, deep=deep)
        if repair:
            outcome = _repaired(session, asked, outcome, repairs_at_most)
        if whole:
            session.measured["health"] = of_health(outcome.health)
        last = runs_with(outcome.seen.runs, outcome.health if whole else None)
        show(outcome, last, session.settings.timezone)
        news = changes(outcome.health.checked, outcome.memories, session.settings.namespace)
        # Remembered before it is told: what is told again is the same event then.
        remember(session, outcome, [], whole=whole)
        tell(news)
        if news:
            remember(session, outcome, news, whole=whole)
    return outcome.health


def _repaired(session: Session, models: Sequence[Model], outcome: Outcome, at_most: int) -> Outcome:
    """Repair what may be repaired, under the namespace's lock; return what was done with it."""
    wanted = choose(
        outcome.health.checked,
        outcome.seen.nodes(),
        outcome.memories,
        outcome.health.at,
        at_most,
    )
    results, by_name = list(wanted.refused), {model.name: model for model in models}
    for result in results:
        say(f"repair: {result.text}")
    waiting = list(wanted.chosen)
    try:
        if waiting:
            with locked(session, "health") as guarded:
                while waiting:
                    results.append(_mended(guarded, by_name.get(waiting[0].model), waiting[0]))
                    waiting.pop(0)
    except LockedError as error:
        results += [one.left(error.what) for one in waiting]
    return with_repairs(outcome, results)


def _mended(session: Session, model: Model | None, repair: Repair) -> Result:
    """Do one repair; what keeps it from coming about concerns no other."""
    try:
        mend(session, model, repair)
    except LockedError:
        raise
    except VllmFlowsError as error:
        return repair.failed(error)
    return Result(repair, tried=True)
