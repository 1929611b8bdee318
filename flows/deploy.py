"""The main flow: from models.yaml to models that answer."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.task_runners import ThreadPoolTaskRunner

from flows.running import results, run_name, session_for
from tasks.access import check_access
from tasks.planning import observe_cluster, show_plan
from tasks.preparation import prepare_namespace
from tasks.readiness import wait_ready
from tasks.release import apply_release
from tasks.running import say
from tasks.smoke import first_answer
from tasks.weights import ensure_claim, fetch_weights, remember_served
from vllm_flows.claims import is_news
from vllm_flows.completions import answers_prompts
from vllm_flows.credentials import Credential
from vllm_flows.desired import Desired, desired_state
from vllm_flows.models import Model
from vllm_flows.models_file import checked, load_models
from vllm_flows.names import ROUTER_DEPLOYMENT, engine_deployment
from vllm_flows.observed import ClusterState, Verdict, WeightsClaim
from vllm_flows.plan import ClaimAction, Plan
from vllm_flows.planner import make_plan
from vllm_flows.report import Outcome, Report, outcome_rows
from vllm_flows.session import Session

_TASKS_AT_ONCE = 16
"""Models whose access, weights or readiness is looked after at the same time."""


@flow(
    name="deploy",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=_TASKS_AT_ONCE),  # type: ignore[arg-type]  # Prefect's generics
)
def deploy(
    models: list[Model] | None = None,
    models_file: str | None = None,
    namespace: str | None = None,
    chart: str | None = None,
    chart_version: str | None = None,
    kube_context: str | None = None,
) -> Report:
    """Bring the cluster to what models.yaml says, and prove it with a completion per model.

    A run that finds everything as it should be writes nothing and still asks every model.

    Args:
        models: Models to serve; leave out to read the models file.
        models_file: Path on the machine that runs the flow; leave out for VLLM_MODELS_FILE.
        namespace: Kubernetes namespace; leave out for VLLM_NAMESPACE.
        chart: Chart folder, OCI reference or repository/name; leave out for VLLM_CHART.
        chart_version: Chart version; leave out for VLLM_CHART_VERSION.
        kube_context: kubeconfig context; leave out for VLLM_KUBE_CONTEXT.

    """
    with session_for(
        models_file=models_file,
        namespace=namespace,
        chart=chart,
        chart_version=chart_version,
        kube_context=kube_context,
    ) as session:
        listed = load_models(session.settings.models_file) if models is None else checked(models)
        api_key = session.api_key()
        verdicts = _ask_hub(session, listed)
        state = observe_cluster(session)
        desired = desired_state(
            listed, verdicts, session.settings, api_key.version if api_key else None, state
        )
        plan = make_plan(desired, state)
        show_plan(plan)
        plan.raise_if_blocked()
        changed = _act(session, desired, plan, api_key)
        outcomes = _prove(session, desired, plan)
        _remember(session, state, listed, outcomes)
    create_table_artifact(
        table=outcome_rows(outcomes), key="models", description="Models that answer"
    )
    return Report(outcomes, changed)


def _ask_hub(session: Session, models: Sequence[Model]) -> list[Verdict]:
    """Ask the Hub about every model, all at the same time."""
    hub = session.hub()
    return results(check_access.submit(hub, model) for model in models)


def _act(session: Session, desired: Desired, plan: Plan, api_key: Credential | None) -> bool:
    """Write what the plan says: namespace, volumes and weights, then the release.

    Returns whether anything was written.
    """
    written = prepare_namespace(session, api_key)
    if not plan.changes:
        say("nothing else to change" if written else "nothing to change")
        return bool(written)
    models = {model.name: model for model in desired.models}
    results(
        ensure_claim.submit(session, models[step.model], step.claim)
        for step in plan.steps
        if step.claim is not ClaimAction.NONE
    )
    results(
        fetch_weights.submit(session, models[step.model], desired.verdicts[step.model], step.order)
        for step in plan.steps
        if step.order
    )
    if plan.release_reason:
        apply_release(session, desired.chart, desired.values, plan.release_reason)
    return True


def _prove(session: Session, desired: Desired, plan: Plan) -> list[Outcome]:
    """Wait for every Deployment, then ask every model that has a replica."""
    waits = [(model.name, engine_deployment(model.name)) for model in desired.models]
    if session.settings.router_enabled:
        waits.append(("router", ROUTER_DEPLOYMENT))
    ready = results(wait_ready.submit(session, name, deployment) for name, deployment in waits)
    names = [model.name for model in desired.models]
    seconds = dict(zip(names, ready, strict=False))
    served = [model.name for model in desired.models if answers_prompts(model)]
    answers = results(first_answer.submit(session, name) for name in served)
    answered = {answer.model: answer.seconds for answer in answers}
    actions = {step.model: str(step.action) for step in plan.steps}
    return [
        Outcome(
            model=model.name,
            action=actions[model.name],
            commit=desired.verdicts[model.name].commit,
            gpus=model.request_gpu * model.replica_count,
            replicas=model.replica_count,
            ready_seconds=seconds[model.name],
            answer_seconds=answered.get(model.name),
        )
        for model in desired.models
    ]


def _remember(
    session: Session, state: ClusterState, listed: Sequence[Model], outcomes: Sequence[Outcome]
) -> None:
    """Write on the claims which commits answered, where that is news."""
    requested = {model.name: model.revision for model in listed}
    proven = [outcome for outcome in outcomes if outcome.answer_seconds is not None]
    claims = {
        outcome.model: state.claims.get(outcome.model) or WeightsClaim(outcome.model, "0")
        for outcome in proven
    }
    results(
        remember_served.submit(
            session, claims[outcome.model], outcome.commit, requested[outcome.model]
        )
        for outcome in proven
        if is_news(claims[outcome.model], outcome.commit, requested[outcome.model])
    )
