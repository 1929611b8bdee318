"""Take away what is ours: Secrets, Jobs and, when asked, weights and the namespace."""

from __future__ import annotations

from collections.abc import Callable

from tasks.handover import delete_left
from tasks.running import ONCE, RETRIED, say, task
from vllm_flows import credentials
from vllm_flows.cluster import Cluster
from vllm_flows.cluster_questions import missing_rights, user_name
from vllm_flows.doctor_vault import judge_external_rights
from vllm_flows.errors import ClusterError, NoRightError, TimedOutError
from vllm_flows.external_secrets import is_ours
from vllm_flows.manifests import DIGEST_KEY_SECRET
from vllm_flows.observe import ENGINE_SELECTOR
from vllm_flows.observed import MODEL_LABEL
from vllm_flows.overlap import DRAINING_LABEL, is_draining
from vllm_flows.revision_store import CONFIG_MAP
from vllm_flows.rights import EXTERNAL_SECRETS, deleting, granting_deletion
from vllm_flows.secret_mode import Maker
from vllm_flows.session import Session
from vllm_flows.waiting import Pending, wait_for

_LIMIT_SECONDS = 300
_GONE_SECONDS = 240.0
_NOTHING = "nothing was removed"


@task(name="check rights", task_run_name="check rights", timeout_seconds=_LIMIT_SECONDS, **RETRIED)
def check_rights(session: Session, *, delete_namespace: bool) -> None:
    """Raise NoRightError when this account may not do all of it, before anything is removed.

    Where the API does not tell, nothing stands against it. The release's objects are asked for
    when there is one, see `remove_release`.
    """
    cluster, namespace, keeper = session.cluster, session.settings.namespace, session.keeper(say)
    synced = {
        place.external for place in credentials.PLACES if keeper.look(place).maker is Maker.SYNCED
    }
    external = [
        right
        for right in EXTERNAL_SECRETS
        if right.name in synced and right.verb in {"get", "delete"}
    ]
    try:
        missing = missing_rights(cluster, external)
        kept = delete_namespace and bool(missing_rights(cluster, [deleting(namespace)]))
        user = user_name(cluster) if missing or kept else ""
    except ClusterError:
        return
    if missing:
        found = judge_external_rights(missing, namespace, user)
        raise NoRightError(found.found, why=_NOTHING, next_command=found.fix)
    if kept:
        what = f"{user or 'this account'} may not delete namespace {namespace}"
        raise NoRightError(what, why=_NOTHING, next_command=granting_deletion(namespace, user))


@task(
    name="delete secrets", task_run_name="delete secrets", timeout_seconds=_LIMIT_SECONDS, **RETRIED
)
def delete_secrets(session: Session) -> None:
    """Delete the Secrets of token, API key and its digest, as far as they are there and ours.

    What Vault holds stays there: others may read it as well.
    """
    keeper = session.keeper(say)
    for place in credentials.PLACES:
        kept = keeper.look(place)
        if kept.maker is Maker.OTHER:
            say(f"Secret {place.secret} stays: it was not made by vllm-flows")
        elif kept.maker is not Maker.NOBODY:
            keeper.detach(kept)
            external = kept.maker is Maker.SYNCED
            rest = f"; {kept.elsewhere or kept.where} keeps what it has" if external else ""
            say(f"Secret {place.secret} deleted{rest}")
    digest_key = session.cluster.get("Secret", DIGEST_KEY_SECRET)
    if digest_key and is_ours(digest_key):
        session.cluster.delete("Secret", DIGEST_KEY_SECRET)
        say(f"Secret {DIGEST_KEY_SECRET} deleted")


@task(
    name="delete what was left",
    task_run_name="delete what was left",
    timeout_seconds=_LIMIT_SECONDS,
    **RETRIED,
)
def delete_unowned(cluster: Cluster) -> None:
    """Delete the ReplicaSets, with their pods, that an interrupted run left without Deployment."""
    delete_left(cluster)


@task(
    name="delete draining pods",
    task_run_name="delete draining pods",
    timeout_seconds=_LIMIT_SECONDS,
    **RETRIED,
)
def delete_draining(cluster: Cluster) -> None:
    """Delete pods that an interrupted run left to finish what they were answering."""
    for pod in filter(is_draining, cluster.find("Pod", DRAINING_LABEL)):
        cluster.delete("Pod", pod["metadata"]["name"])


@task(
    name="delete weights jobs",
    task_run_name="delete weights jobs",
    timeout_seconds=_LIMIT_SECONDS,
    **RETRIED,
)
def delete_weights_jobs(cluster: Cluster) -> None:
    """Delete the weights Jobs, also those at work, their programs, and the memory of revisions."""
    for kind in ("Job", "ConfigMap"):
        _delete_all(cluster, kind)
    cluster.delete("ConfigMap", CONFIG_MAP)


@task(
    name="delete weights", task_run_name="delete weights", timeout_seconds=_LIMIT_SECONDS, **RETRIED
)
def delete_weights(cluster: Cluster) -> None:
    """Delete the volumes with the weights."""
    _delete_all(cluster, "PersistentVolumeClaim")


@task(
    name="delete namespace",
    task_run_name="delete namespace",
    timeout_seconds=_LIMIT_SECONDS,
    **ONCE,
)
def delete_namespace(session: Session) -> None:
    """Delete the namespace and everything in it, and wait until it is gone.

    An account of that namespace may go before it does, and sees no more.
    """
    name = session.settings.namespace
    if not session.cluster.delete("Namespace", name):
        return

    def ask() -> bool | Pending:
        try:
            there = session.cluster.get("Namespace", name)
        except NoRightError:
            return True
        return Pending(f"namespace {name} is being emptied") if there else True

    _wait_gone(session, ask, f"kubectl get namespace {name} -o yaml   (its status says why)")
    say(f"namespace {name} deleted")


def _delete_all(cluster: Cluster, kind: str) -> None:
    for item in cluster.find(kind, MODEL_LABEL):
        name = item["metadata"]["name"]
        if cluster.delete(kind, name):
            say(f"{kind} {name} deleted")


@task(
    name="wait until the engines are gone",
    task_run_name="wait until the engines are gone",
    timeout_seconds=_LIMIT_SECONDS,
    **ONCE,
)
def wait_engines_gone(session: Session) -> None:
    """Wait until no engine pod is left, so that their GPUs are free for others."""

    def ask() -> bool | Pending:
        left = len(session.cluster.find("Pod", ENGINE_SELECTOR))
        return Pending(f"{left} engine pods are still ending") if left else True

    namespace = session.settings.namespace
    _wait_gone(session, ask, f"kubectl -n {namespace} get pods -l {ENGINE_SELECTOR}")


def _wait_gone(session: Session, ask: Callable[[], bool | Pending], next_command: str) -> None:
    wait_for(
        ask,
        seconds=_GONE_SECONDS,
        every=1.0,
        say=say,
        out_of_time=lambda last: TimedOutError(last, next_command=next_command),
        clock=session.clock,
    )
