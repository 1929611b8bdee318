"""The health check's steps: ask all models, repair what may be, show and tell what was found."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from tasks.artifacts import publish_page, publish_table
from tasks.prefect_events import send_events
from tasks.running import ONCE, say, task
from tasks.weights import fetch_weights
from vllm_flows.capacity import needs_of
from vllm_flows.errors import WeightsError
from vllm_flows.health_checking import Outcome, check_health
from vllm_flows.health_events import Change, summary
from vllm_flows.health_keeping import keep
from vllm_flows.health_memory import Run
from vllm_flows.health_picture import as_address, trend
from vllm_flows.health_repairs import Repair, Way
from vllm_flows.health_report import health_rows, page, sentence
from vllm_flows.models import Model
from vllm_flows.observed import WEIGHTS_ANNOTATION, ClusterState, Verdict
from vllm_flows.quantities import parse_quantity
from vllm_flows.session import Session
from vllm_flows.weights_manifests import WeightsOrder, claim_name
from vllm_flows.weights_place import weights_hosts


@task(name="check all models", task_run_name="check all models", **ONCE)
def check(session: Session, models: Sequence[Model], *, deep: bool) -> Outcome:
    """Ask all models at the same time; what could not be measured is part of the outcome."""
    outcome = check_health(session, models, say, deep=deep)
    say(sentence(outcome.health))
    return outcome


@task(task_run_name="repair {repair.model}", **ONCE)
def mend(session: Session, model: Model | None, repair: Repair) -> None:
    """Do one repair, None of a model where it is the router's.

    Raises VllmFlowsError when it does not come about.
    """
    if repair.way is Way.RESTART:
        session.cluster.delete("Pod", repair.pod)
    elif model:
        _fetch_anew(session, model)
    say(f"repair: {repair.model}: {repair.text}")


def _fetch_anew(session: Session, model: Model) -> None:
    """Have all that is on the model's volume read, and fetched where it is not right."""
    state = session.observe()
    served = state.deployments[model.name].revision if model.name in state.deployments else ""
    verdict = session.hub().verdict(model.name, model.model_url, served)
    if verdict.problems:
        raise verdict.problems[0]
    # Without its record nothing on the volume is taken for proven, see `claims.has_record`.
    name, forgotten = claim_name(model.name), {WEIGHTS_ANNOTATION: None}
    session.cluster.annotate("PersistentVolumeClaim", name, forgotten)
    fetch_weights.fn(session, model, verdict, _order(session, model, state, verdict))


def _order(session: Session, model: Model, state: ClusterState, verdict: Verdict) -> WeightsOrder:
    claim = state.claims.get(model.name)
    if claim is None or not verdict.commit:
        raise WeightsError(
            "its volume is gone", next_command="vllm-flows install", model=model.name
        )
    return WeightsOrder(
        nodes=weights_hosts(model, None, session.settings, state),
        keep=tuple(sorted(state.running(model.name))),
        before=next(iter(claim.served), ""),
        budget=int(parse_quantity(claim.size)),
        tolerations=needs_of(model, state.around).tolerations,
    )


@task(name="show", task_run_name="show", **ONCE)
def show(outcome: Outcome, runs: Sequence[Run], zone: str) -> None:
    """Make the table of this check, and the picture of the last ones, for the Prefect UI."""
    health = outcome.health
    picture = trend(runs, ZoneInfo(zone), outcome.unwell())
    publish_table(health_rows(health), "health", f"Health: {sentence(health)}")
    words = "How many models were in which state, check by check"
    publish_page(page(health, as_address(picture)), "health-trend", words)


@task(name="tell", task_run_name="tell what changed", **ONCE)
def tell(changes: Sequence[Change]) -> None:
    """Send an event for each change of state, and one for all; told again they are the same."""
    if changes:
        send_events([*(change.event for change in changes), summary(changes)])
    for change in changes:
        say(f"{change.checked.name}: {change.old} -> {change.new}")


@task(name="remember", task_run_name="remember", **ONCE)
def remember(session: Session, outcome: Outcome, told: Sequence[Change], *, whole: bool) -> None:
    """Keep what the next check compares with; a check whose outcome is not kept counts too."""
    kept = keep(session, outcome, told, whole=whole)
    if kept.error:
        following = f"; next: {kept.error.next_command}" if kept.error.next_command else ""
        say(f"what was seen is not remembered: {kept.error.what}{following}")
