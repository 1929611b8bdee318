"""Take away what a dead run left: the namespace's lock, and a release that nobody can change."""

from __future__ import annotations

from prefect import flow

from flows.running import locked, run_name, session_for
from tasks.masked_pickle import RESULTS
from tasks.release import unlock_release
from tasks.running import say
from vllm_flows.lease import wall_clock
from vllm_flows.unlocking import look_at_locks, seize


@flow(name="unlock", flow_run_name=run_name, result_serializer=RESULTS)
def unlock(
    namespace: str | None = None, kube_context: str | None = None, *, force: bool = False
) -> None:
    """Free the namespace's lock and a pending release, when who left them is gone.

    Args:
        namespace: Kubernetes namespace; leave out for VLLM_NAMESPACE.
        kube_context: kubeconfig context; leave out for VLLM_KUBE_CONTEXT.
        force: Also when they seem to be in use; a run that still works then changes nothing more.

    """
    with session_for(namespace=namespace, kube_context=kube_context) as session:
        now = wall_clock()
        locks = look_at_locks(session, now)
        if not locks.anything:
            say("nothing to unlock")
            return
        if force:
            seize(session.cluster)
        else:
            locks.check(now)
        with locked(session, "unlock") as guarded:
            unlock_release(guarded, force=force)
        say("unlocked")
