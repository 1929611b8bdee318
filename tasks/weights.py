"""Bring each model's weights to its volume, before the release is touched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from tasks.artifacts import publish_progress
from tasks.running import ONCE, RETRIED, speaker, task, tell
from vllm_flows import weights_manifests as manifests
from vllm_flows.claims import (
    Served,
    has_record,
    record_of,
    record_with,
    refused_with,
    served_with,
    weights_claims,
)
from vllm_flows.diagnosis_categories import Diagnosis
from vllm_flows.errors import ClusterError, TimedOutError, WeightsError
from vllm_flows.models import Model
from vllm_flows.observed import (
    MODEL_LABEL,
    WEIGHTS_ANNOTATION,
    Verdict,
    WeightsClaim,
)
from vllm_flows.plan import ClaimAction
from vllm_flows.session import Session
from vllm_flows.transfer import Meter, Progress
from vllm_flows.waiting import Clock, Pending, wait_for
from vllm_flows.weights import WeightsJobState, job_state, may_adopt, newest_pod
from vllm_flows.weights_keeping import keeping
from vllm_flows.weights_manifests import Object, WeightsOrder
from vllm_flows.weights_watch import WeightsWatch

_POLL_SECONDS = 1.0
_GONE_SECONDS = 60.0
_LOG_LINES = 20
_SPARE_SECONDS = 120
_SAID_EVERY_SECONDS = 8.0
_SAID_EVERY_PERCENT = 10


@task(task_run_name="weights claim {model.name}", **RETRIED)
def ensure_claim(session: Session, model: Model, action: ClaimAction) -> None:
    """Create the model's claim, or let the one that is there grow."""
    claim = manifests.weights_claim(model, session.settings)
    if action is ClaimAction.CREATE:
        session.cluster.apply(claim)
    else:
        # Class and access mode of a claim never change; what the settings say now is no matter.
        wanted = {"resources": claim["spec"]["resources"]}
        session.cluster.merge(claim["kind"], claim["metadata"]["name"], {"spec": wanted})
    done = "made" if action is ClaimAction.CREATE else "grown"
    speaker(model.name)(f"claim of {model.pvc_storage} {done}")


@task(task_run_name="fetch weights {model.name}", **ONCE)
def fetch_weights(session: Session, model: Model, verdict: Verdict, order: WeightsOrder) -> None:
    """Fill the model's volume with one commit; a Job that already runs is watched, not doubled.

    Raises WeightsError when the Job gives up, TimedOutError after `weights_timeout`. Cancelled
    meanwhile, the Job goes on in the cluster, and the next run finds it.
    """
    begun = _start_job(session, model, verdict, order, sparing=True)
    state = end_of(session, verdict)
    if state.lacks_room and set(begun.order.keep) > set(order.keep):
        speaker(model.name)("the volume lacks room for it beside older revisions: these may go")
        begun = _start_job(session, model, verdict, order, sparing=False)
        state = end_of(session, verdict)
    if state.phase == "failed":
        raise _gave_up(session, verdict, state.text)
    _record(session, verdict, begun.claim, state.commits or tuple(begun.order.keep))
    speaker(model.name)("weights complete")


@task(task_run_name="remember {claim.model}", **RETRIED)
def remember_served(session: Session, claim: WeightsClaim, served: Served) -> None:
    """Write on the claim what answers now: its commit and the one before stay on the volume."""
    session.cluster.annotate(
        "PersistentVolumeClaim",
        manifests.claim_name(claim.model),
        served_with(claim, served),
    )


@task(task_run_name="remember that {claim.model} did not do", **RETRIED)
def remember_refused(session: Session, claim: WeightsClaim, commit: str, why: str) -> None:
    """Write on the claim that this commit was tried and did not do; it is not tried unasked."""
    session.cluster.annotate(
        "PersistentVolumeClaim",
        manifests.claim_name(claim.model),
        refused_with(claim, commit, why),
    )


@dataclass(frozen=True)
class _Begun:
    """What the Job at work was told, and the claim as it was before."""

    order: WeightsOrder
    claim: Object


def _start_job(
    session: Session, model: Model, verdict: Verdict, order: WeightsOrder, *, sparing: bool
) -> _Begun:
    """Make the Job unless it is there; one that failed, or does something else, goes first.

    `sparing`: it must leave the complete commits that there should be room for.
    """
    cluster = session.cluster
    claim = cluster.get("PersistentVolumeClaim", manifests.claim_name(model.name))
    if claim is None:
        raise _no_claim(verdict)
    order = replace(order, token=session.token() is not None, claim=claim["metadata"]["uid"])
    if not has_record(claim):  # nothing was fetched yet, or somebody doubts what is there
        order = replace(order, recheck=claim["metadata"]["resourceVersion"])
    known = weights_claims([claim]).get(model.name)
    if sparing and known:
        order = keeping(order, verdict, known)
    wanted = manifests.weights_job(model, verdict, session.settings, order)
    for job in cluster.find("Job", f"{MODEL_LABEL}={model.name}"):
        name = job["metadata"]["name"]
        if may_adopt(job, cluster.find("Pod", f"job-name={name}"), wanted):
            done = job_state(job, [], "").phase == "complete"
            speaker(model.name)(f"weights Job found {'complete' if done else 'at work'}")
            return _Begun(order, claim)
        remove_job(session, model.name, name)
    # From here on the Job may remove what it need not keep: the record must not promise it.
    record = {WEIGHTS_ANNOTATION: record_of(claim, order.keep)}
    cluster.annotate("PersistentVolumeClaim", claim["metadata"]["name"], record)
    cluster.apply(manifests.weights_program(verdict))
    cluster.apply(wanted)
    return _Begun(order, claim)


def end_of(session: Session, verdict: Verdict) -> WeightsJobState:
    """Watch the Job until it is complete or has failed."""
    watch = Watch(verdict.model, session.clock)
    autoscaling = session.settings.autoscaling
    pod = WeightsWatch(session.cluster, session.clock.now, autoscaling=autoscaling)

    def ask() -> WeightsJobState | Pending:
        state = _look(session, verdict, pod)
        text = watch.update(state)
        return Pending(text) if state.phase == "running" else state

    return wait_for(
        ask,
        seconds=session.settings.weights_timeout.total_seconds() + _SPARE_SECONDS,
        every=_POLL_SECONDS,
        say=speaker(verdict.model, shown=True),
        out_of_time=lambda last: _too_late(session, verdict, last, pod.last),
        clock=session.clock,
    )


def remove_job(session: Session, model: str, name: str) -> None:
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


def _look(session: Session, verdict: Verdict, watch: WeightsWatch) -> WeightsJobState:
    """Return what the Job is at. Raises WeightsError when its pod can never run."""
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
    state = job_state(job, pods, log)
    trouble = watch.trouble(job, pods) if state.idle else None
    if trouble is None:
        return state
    if trouble.definite:
        raise WeightsError(
            f"the weights pod: {trouble.summary} [{trouble.category}]",
            why=trouble.detail,
            next_command=trouble.next_command,
            model=verdict.model,
        )
    return replace(state, text=f"the weights pod: {trouble.summary}")


def _record(session: Session, verdict: Verdict, claim: Object, commits: tuple[str, ...]) -> None:
    """Write on the claim which commits are complete; for these nothing is fetched any more."""
    name = manifests.claim_name(verdict.model)
    if session.cluster.get("PersistentVolumeClaim", name) is None:
        raise _no_claim(verdict)
    record = {WEIGHTS_ANNOTATION: record_with(claim, verdict, commits)}
    session.cluster.annotate("PersistentVolumeClaim", name, record)
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


def _too_late(
    session: Session, verdict: Verdict, last: str, trouble: Diagnosis | None
) -> TimedOutError:
    limit = session.settings.weights_timeout
    again = "run it again to go on, with a larger VLLM_WEIGHTS_TIMEOUT"
    return TimedOutError(
        f"the weights did not arrive in {limit}",
        why=f"{last}\n{trouble.detail}".strip() if trouble else last,
        next_command=trouble.next_command if trouble else again,
        model=verdict.model,
    )


class Watch:
    """How far the model's weights are: for the bars, the Prefect UI, and in words."""

    def __init__(self, model: str, clock: Clock) -> None:
        self._artifact: UUID | None = None
        self._model = model
        self._clock = clock
        self._meter = Meter()
        self._shown = -1.0
        self._said = Progress(model, "")
        self._said_at = clock.now()
        self._setbacks: set[str] = set()

    def update(self, state: WeightsJobState) -> str:
        """Tell the bars and the UI; return the text to say, which changes only now and then."""
        for setback in state.setbacks:
            if setback not in self._setbacks:
                self._setbacks.add(setback)
                speaker(self._model)(setback)
        now = self._clock.now()
        progress = self._progress(state, now)
        tell(progress)
        self._show(progress)
        moved = progress.share - self._said.share
        worth_saying = moved >= _SAID_EVERY_PERCENT or now - self._said_at >= _SAID_EVERY_SECONDS
        new = progress.checking != self._said.checking
        if worth_saying or new or not (progress.total and self._said.total):
            self._said, self._said_at = progress, now
        return self._said.line

    def _progress(self, state: WeightsJobState, now: float) -> Progress:
        if state.phase == "complete":
            total = max(self._said.total, 1)
            return Progress(
                self._model, state.text, total, total, node=self._said.node, finished=True
            )
        if state.text in state.setbacks:
            return Progress(self._model, "another attempt begins soon")
        if state.checking != self._said.checking:
            self._meter = Meter()
        rate = self._meter.rate(now, state.done) if state.total else 0.0
        left = (state.total - state.done) / rate if rate > 0 else None
        return Progress(
            self._model,
            state.text,
            state.done,
            state.total,
            max(rate, 0.0),
            left,
            state.node,
            checking=state.checking,
            finished=state.phase == "failed",
        )

    def _show(self, progress: Progress) -> None:
        """Bring the bar in the Prefect UI to the share, when it moved by a percent or more."""
        if abs(progress.share - self._shown) < 1:
            return
        self._shown = progress.share
        description = f"Weights of {self._model}: {progress.line}"
        self._artifact = publish_progress(
            self._artifact, progress.share, f"weights-{self._model}", description
        )
