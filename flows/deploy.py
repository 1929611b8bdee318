"""The main flow: from models.yaml to models that answer."""

from __future__ import annotations

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.task_runners import ThreadPoolTaskRunner

from flows.deciding import decided, decided_again
from flows.rolling import Rolling, wait_model_ready
from flows.running import locked, raise_if_locked, results, run_name, session_for
from tasks.access import check_access
from tasks.preparation import store_secrets
from tasks.readiness import ready_now, wait_ready
from tasks.running import say
from tasks.smoke import prove_all
from tasks.weights import ensure_claim, fetch_weights
from vllm_flows.models import Model, answers_prompts
from vllm_flows.models_file import checked, load_models
from vllm_flows.names import ROUTER_DEPLOYMENT, engine_deployment
from vllm_flows.plan import ClaimAction
from vllm_flows.planning import Aim, Decision
from vllm_flows.report import Outcome, Report, outcome_rows
from vllm_flows.session import Session

_TASKS_AT_ONCE = 16
"""Models whose weights or readiness is looked after at the same time."""


@flow(
    name="deploy",
    flow_run_name=run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=_TASKS_AT_ONCE),  # type: ignore[arg-type]  # Prefect's generics
)
def deploy(  # noqa: PLR0913 -- the fields of the form in the Prefect UI
    models: list[Model] | None = None,
    models_file: str | None = None,
    namespace: str | None = None,
    chart: str | None = None,
    chart_version: str | None = None,
    kube_context: str | None = None,
    *,
    allow_downtime: bool = False,
    expected_plan: str | None = None,
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
        allow_downtime: Stop a model before its successor starts, where both have no room.
        expected_plan: Fingerprint of the plan that was agreed to; any other is refused.

    """
    with session_for(
        models_file=models_file,
        namespace=namespace,
        chart=chart,
        chart_version=chart_version,
        kube_context=kube_context,
    ) as session:
        listed = load_models(session.settings.models_file) if models is None else checked(models)
        aim = Aim(listed, allow_downtime=allow_downtime, expected=expected_plan)
        verdicts = check_access(session, listed)
        run = decided(session, aim, verdicts)
        if run.writes:
            with locked(session, "deploy") as guarded:
                run = decided_again(guarded, aim, verdicts, run)
                outcomes = _act(run, session)
        else:
            raise_if_locked(session)
            say("nothing to change")
            outcomes = _proven(run, Rolling(run, session))
    rows = outcome_rows(outcomes)
    create_table_artifact(table=rows, key="models", description="Models that answer")
    return Report(outcomes, run.changes)


def _act(run: Decision, asking: Session) -> list[Outcome]:
    """Write what the plan says: Secrets, volumes and weights, then the release; and prove it."""
    store_secrets(run.session, run.api_key, run.token)
    _bring_weights(run)
    rolling = Rolling(run, asking)
    rolling.through()
    outcomes = _proven(run, rolling)
    rolling.remember(model.name for model in run.desired.models)
    return outcomes


def _bring_weights(run: Decision) -> None:
    """Make the claims and fill them, each model's at the same time."""
    session, desired = run.session, run.desired
    models = {model.name: model for model in desired.models}
    results(
        ensure_claim.submit(session, models[step.model], step.claim)
        for step in run.plan.steps
        if step.claim is not ClaimAction.NONE
    )
    results(
        fetch_weights.submit(session, models[step.model], desired.verdicts[step.model], step.order)
        for step in run.plan.steps
        if step.order
    )


def _proven(run: Decision, rolling: Rolling) -> list[Outcome]:
    """Wait for every Deployment and ask every model, but for those that were rolled just now."""
    session = run.session
    models = [model for model in run.desired.models if model.name not in rolling.ready]
    ready = set(ready_now(session))
    late = [model for model in models if engine_deployment(model.name) not in ready]
    waits = [wait_model_ready(session, run.desired, model) for model in late]
    if session.settings.router_enabled and ROUTER_DEPLOYMENT not in ready:
        waits.append(wait_ready.submit(session, "router", ROUTER_DEPLOYMENT))
    seconds = dict(zip([model.name for model in late], results(waits), strict=False))
    rolling.ready |= {model.name: 0.0 for model in models} | seconds
    asked = [model for model in models if answers_prompts(model)]
    rolling.answers |= prove_all(session, asked, run.proven())
    return [_outcome(run, model, rolling) for model in run.desired.models]


def _outcome(run: Decision, model: Model, rolling: Rolling) -> Outcome:
    actions = {step.model: str(step.action) for step in run.plan.steps}
    answer = rolling.answers.get(model.name)
    return Outcome(
        model=model.name,
        action=actions[model.name],
        commit=run.commit(model.name),
        gpus=model.request_gpu * model.replica_count,
        replicas=model.replica_count,
        ready_seconds=rolling.ready[model.name],
        answer_seconds=answer.seconds if answer else None,
        silence=rolling.silence.get(model.name),
    )
