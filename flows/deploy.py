"""The main flow: from models.yaml to models that answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from flows.deciding import decided, decided_again
from flows.outcomes import outcomes, prove_rest, table_of_failure
from flows.rolling import Rolling
from flows.running import locked, raise_if_locked, run_name, session_for
from flows.waits import sorted_out
from tasks.access import check_access
from tasks.artifacts import publish_table
from tasks.masked_pickle import RESULTS
from tasks.preparation import store_secrets
from tasks.running import say
from tasks.weights import ensure_claim, fetch_weights
from vllm_flows.errors import VllmFlowsError
from vllm_flows.models import Model
from vllm_flows.models_file import checked, load_models
from vllm_flows.plan import ClaimAction
from vllm_flows.planning import Aim, Decision
from vllm_flows.report import Outcome, Report, Row, outcome_rows
from vllm_flows.session import Session

_TASKS_AT_ONCE = 16
"""Models whose weights or readiness is looked after at the same time."""


@flow(
    name="deploy",
    flow_run_name=run_name,
    result_serializer=RESULTS,
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
        allow_downtime: Stop a model before its successor starts, unless both surely fit.
        expected_plan: Fingerprint of the plan that was agreed to; any other is refused.

    """
    with (
        table_shown(),
        session_for(
            models_file=models_file,
            namespace=namespace,
            chart=chart,
            chart_version=chart_version,
            kube_context=kube_context,
        ) as session,
    ):
        listed = load_models(session.settings.models_file) if models is None else checked(models)
        aim = Aim(listed, allow_downtime=allow_downtime, expected=expected_plan)
        verdicts = check_access(session, listed)
        run = decided(session, aim, verdicts)
        if run.writes:
            with locked(session, "deploy") as guarded:
                run = decided_again(guarded, aim, verdicts, run)
                found = _brought(run, session)
        else:
            raise_if_locked(session)
            say("nothing to change")
            found = _asked(run)
    publish(outcome_rows(found), "Models that answer")
    return Report(found, run.changes)


def _brought(run: Decision, asking: Session) -> list[Outcome]:
    """Write what the plan says: Secrets, volumes and weights, then the release; and prove it."""
    store_secrets(run.session, run.api_key, run.token, run.mark)
    rolling = Rolling(run, asking)
    with table_of_failure(rolling):
        bring_weights(rolling)
        rolling.through()
        prove_rest(rolling)
    rolling.remember(model.name for model in run.desired.models)
    return outcomes(rolling)


def _asked(run: Decision) -> list[Outcome]:
    """Write nothing, and prove what is there."""
    rolling = Rolling(run, run.session)
    with table_of_failure(rolling):
        prove_rest(rolling)
    return outcomes(rolling)


def bring_weights(rolling: Rolling) -> None:
    """Make the claims and fill them, each model's at the same time."""
    run, session, desired = rolling.run, rolling.run.session, rolling.run.desired
    models = {model.name: model for model in desired.models}
    claims = {
        step.model: ensure_claim.submit(session, models[step.model], step.claim)
        for step in run.plan.steps
        if step.claim is not ClaimAction.NONE
    }
    rolling.fail(sorted_out(claims)[1])
    fetched = {
        step.model: fetch_weights.submit(
            session, models[step.model], desired.verdicts[step.model], step.order
        )
        for step in run.plan.steps
        if step.order
    }
    rolling.fail(sorted_out(fetched)[1])


@contextmanager
def table_shown() -> Iterator[None]:
    """Publish the table of a failure too."""
    try:
        yield
    except VllmFlowsError as error:
        if error.table:
            publish(error.table, "What became of each model")
        raise


def publish(rows: list[Row], description: str) -> None:
    """Publish the table of models as an artifact."""
    publish_table(rows, "models", description)
