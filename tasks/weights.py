"""Bring each model's weights to its volume, before the release is touched."""

from __future__ import annotations

from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.running import ONCE, RETRIED, speaker
from vllm_flows import manifests
from vllm_flows.errors import ClusterError, NoRightError, TimedOutError, WeightsError
from vllm_flows.models import Model
from vllm_flows.observe import ENGINE_SELECTOR, weights_nodes, with_complete_commit
from vllm_flows.observed import MODEL_LABEL, WEIGHTS_ANNOTATION, Verdict
from vllm_flows.plan import ClaimAction
from vllm_flows.session import Session
from vllm_flows.waiting import Pending, wait_for
from vllm_flows.weights import WeightsJobState, job_state, may_adopt, newest_pod

_POLL_SECONDS = 1.0
_GONE_SECONDS = 60.0
_LOG_LINES = 20
_SPARE_SECONDS = 120


@task(task_run_name="weights claim {model.name}", **RETRIED)
def ensure_claim(session: Session, model: Model, action: ClaimAction) -> None:
    """Create the model's claim, or let it grow."""
    session.cluster.apply(manifests.weights_claim(model, session.settings))
    done = "made" if action is ClaimAction.CREATE else "grown"
    speaker(model.name)(f"claim of {model.pvc_storage} {done}")


@task(task_run_name="fetch weights {verdict.model}", **ONCE)
def fetch_weights(session: Session, verdict: Verdict, gpus: int) -> None:
    """Fill the model's volume with one commit; a Job that already runs is watched, not doubled.

    Raises WeightsError when the Job gives up, TimedOutError after `weights_timeout`. Cancelled
    meanwhile, the Job goes on in the cluster, and the next run finds it.
    """
    say = speaker(verdict.model)
    _start_job(session, verdict, gpus)
    report = _Progress(verdict.model)

    def ask() -> WeightsJobState | Pending:
        state = _look(session, verdict)
        report.update(state)
        return Pending(state.text) if state.phase == "running" else state

    state = wait_for(
        ask,
        seconds=session.settings.weights_timeout.total_seconds() + _SPARE_SECONDS,
        every=_POLL_SECONDS,
        say=say,
        out_of_time=lambda last: _too_late(session, verdict, last),
        clock=session.clock,
    )
    if state.phase == "failed":
        raise _gave_up(session, verdict, state.text)
    _record(session, verdict)
    say("weights complete")


def _start_job(session: Session, verdict: Verdict, gpus: int) -> None:
    """Make the Job unless it is there; one that failed, or does something else, goes first."""
    cluster = session.cluster
    claim = cluster.get("PersistentVolumeClaim", manifests.claim_name(verdict.model))
    if claim is None:
        raise _no_claim(verdict)
    wanted = _wanted_job(session, verdict, gpus)
    for job in cluster.find("Job", f"{MODEL_LABEL}={verdict.model}"):
        if may_adopt(job, claim, wanted):
            speaker(verdict.model)("weights Job found at work")
            return
        _remove_job(session, verdict.model, job["metadata"]["name"])
    cluster.apply(manifests.weights_program(verdict))
    cluster.apply(wanted)


def _wanted_job(session: Session, verdict: Verdict, gpus: int) -> manifests.Object:
    nodes = weights_nodes(
        _nodes(session, verdict.model),
        session.cluster.find("Pod", ENGINE_SELECTOR),
        verdict.model,
        gpus,
        session.settings.storage_access_mode,
    )
    token = session.token() is not None
    return manifests.weights_job(verdict, session.settings, nodes, token=token)


def _nodes(session: Session, model: str) -> list[dict[str, object]]:
    """Return the cluster's nodes; without the right to see them the Job may run on any."""
    try:
        return session.cluster.find("Node")
    except NoRightError:
        speaker(model)("no right to list nodes: the weights pod may run on any of them")
        return []


def _remove_job(session: Session, model: str, name: str) -> None:
    """Delete a Job and wait until it and its pods are gone: two must not write one volume."""
    session.cluster.delete("Job", name)

    def ask() -> bool | Pending:
        left = session.cluster.find("Pod", f"job-name={name}")
        return Pending(f"waiting until Job {name} is gone") if left else True

    wait_for(
        ask,
        seconds=_GONE_SECONDS,
        every=_POLL_SECONDS,
        say=speaker(model),
        out_of_time=lambda last: ClusterError(last, model=model),
        clock=session.clock,
    )


def _look(session: Session, verdict: Verdict) -> WeightsJobState:
    name = manifests.job_name(verdict.model, verdict.commit)
    job = session.cluster.get("Job", name)
    if job is None:
        raise WeightsError(
            "the weights Job was deleted while it ran",
            next_command="vllm-flows install   (it goes on with what is there)",
            model=verdict.model,
        )
    pods = session.cluster.find("Pod", f"job-name={name}")
    pod = newest_pod(pods)
    log = session.cluster.log(pod["metadata"]["name"], lines=_LOG_LINES) if pod else ""
    return job_state(job, pods, log)


def _record(session: Session, verdict: Verdict) -> None:
    """Write on the claim that the commit is complete; from then on nothing is fetched for it."""
    name = manifests.claim_name(verdict.model)
    claim = session.cluster.get("PersistentVolumeClaim", name)
    if claim is None:
        raise _no_claim(verdict)
    text = with_complete_commit(claim, verdict.commit, len(verdict.files), verdict.total_bytes)
    session.cluster.annotate("PersistentVolumeClaim", name, {WEIGHTS_ANNOTATION: text})
    session.cluster.delete("ConfigMap", manifests.job_name(verdict.model, verdict.commit))


def _no_claim(verdict: Verdict) -> WeightsError:
    return WeightsError(
        "the weights claim was deleted meanwhile",
        next_command="vllm-flows install   (it makes a new one)",
        model=verdict.model,
    )


def _gave_up(session: Session, verdict: Verdict, why: str) -> WeightsError:
    name = manifests.job_name(verdict.model, verdict.commit)
    return WeightsError(
        "the weights could not be fetched",
        why=why,
        next_command=f"kubectl -n {session.settings.namespace} logs job/{name}",
        model=verdict.model,
    )


def _too_late(session: Session, verdict: Verdict, last: str) -> TimedOutError:
    limit = session.settings.weights_timeout
    return TimedOutError(
        f"the weights did not arrive in {limit}",
        why=last,
        next_command="run it again to go on, with a larger VLLM_WEIGHTS_TIMEOUT",
        model=verdict.model,
    )


class _Progress:
    """The model's progress bar in the Prefect UI; it only goes forward."""

    def __init__(self, model: str) -> None:
        self._id: UUID | None = None
        self._model = model
        self._share = -1.0

    def update(self, state: WeightsJobState) -> None:
        """Show the share fetched so far, when it grew by a percent or more."""
        share = 100.0 if state.phase == "complete" else 100 * state.done / max(state.total, 1)
        if share < self._share + 1:
            return
        self._share = share
        if self._id is None:
            found = create_progress_artifact(
                progress=share,
                key=f"weights-{self._model}",
                description=f"Weights of {self._model}",
            )
            self._id = found if isinstance(found, UUID) else None
        else:
            update_progress_artifact(self._id, progress=share)
