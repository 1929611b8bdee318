"""Notice when a tracked revision moves, and tell of it."""

from __future__ import annotations

from prefect import flow

from flows.running import run_name, session_for
from tasks.masked_pickle import RESULTS
from tasks.revisions import look, tell
from vllm_flows.metrics import of_revisions
from vllm_flows.models_file import load_models
from vllm_flows.revision_report import revision_data


@flow(name="watch", flow_run_name=run_name, result_serializer=RESULTS)
def watch(
    repository: str | None = None,
    models_file: str | None = None,
    namespace: str | None = None,
    kube_context: str | None = None,
) -> list[dict[str, object]]:
    """Compare what is served with where `revision` stands on the Hub; send an event per change.

    Nothing is rolled out here, and no lock is taken: what is running goes on. The Hub's silence is
    no failure.

    Args:
        repository: Look at the models of this Hub id alone; leave out for all.
        models_file: Path on the machine that runs the flow; leave out for VLLM_MODELS_FILE.
        namespace: Kubernetes namespace; leave out for VLLM_NAMESPACE.
        kube_context: kubeconfig context; leave out for VLLM_KUBE_CONTEXT.

    """
    with session_for(
        models_file=models_file, namespace=namespace, kube_context=kube_context
    ) as session:
        models = load_models(session.settings.models_file)
        found = look(session, models, repository or "")
        if not repository:
            policies = {model.name: model.update for model in models}
            session.measured["revisions"] = of_revisions(found.seen, policies)
        tell(session, models, found)
    return revision_data(found.seen)
