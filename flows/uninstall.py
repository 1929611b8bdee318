"""Take the models off the cluster; the weights stay unless asked otherwise."""

from __future__ import annotations

from prefect import flow

from flows.running import locked_if_there, run_name, session_for
from tasks import removal
from tasks.masked_pickle import RESULTS
from tasks.release import remove_left_behind, remove_release
from vllm_flows.observe import ENGINE_SELECTOR, deployed_models


@flow(name="uninstall", flow_run_name=run_name, result_serializer=RESULTS)
def uninstall(
    *,
    namespace: str | None = None,
    kube_context: str | None = None,
    delete_weights: bool = False,
    delete_namespace: bool = False,
) -> None:
    """Remove the release and the Secrets, and on request the weights and the namespace.

    Args:
        namespace: Kubernetes namespace; leave out for VLLM_NAMESPACE.
        kube_context: kubeconfig context; leave out for VLLM_KUBE_CONTEXT.
        delete_weights: Delete the volumes with the weights too; later they are fetched anew.
        delete_namespace: Delete the namespace with everything in it, weights included.

    """
    with (
        session_for(namespace=namespace, kube_context=kube_context) as asking,
        locked_if_there(asking, "uninstall") as session,
    ):
        removal.check_rights(session, delete_namespace=delete_namespace)
        remove_release(session)
        left = deployed_models(session.cluster.find("Deployment", ENGINE_SELECTOR))
        if left:
            remove_left_behind(session, sorted(left))
        removal.delete_unowned(session.cluster)
        removal.delete_draining(session.cluster)
        removal.wait_engines_gone(session)
        removal.delete_weights_jobs(session.cluster)
        removal.delete_secrets(session)
        if delete_weights:
            removal.delete_weights(session.cluster)
        if delete_namespace:
            removal.delete_namespace(session)
