"""Free space on the weights volumes: by a Job on what stays, by deleting what nobody uses."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tasks.running import ONCE, RETRIED, speaker, task
from tasks.weights import end_of, remove_job
from vllm_flows import weights_manifests as manifests
from vllm_flows.claims import record_of
from vllm_flows.errors import WeightsError
from vllm_flows.looking_at_volumes import any_model
from vllm_flows.observed import MODEL_LABEL, WEIGHTS_ANNOTATION, Verdict
from vllm_flows.pruning import Pruning
from vllm_flows.session import Session
from vllm_flows.sizes import human_bytes
from vllm_flows.weights_manifests import WeightsOrder
from vllm_flows.weights_order import PRUNE

_LONGEST = timedelta(minutes=15)
_CLAIM = "PersistentVolumeClaim"


@task(task_run_name="prune {pruning.model}", **ONCE)
def prune_volume(session: Session, pruning: Pruning, order: WeightsOrder) -> int:
    """Remove what need not stay from a model's volume; return the bytes that became free.

    The record forgets it first, and so promises nothing that may be gone, whenever this ends.
    Raises WeightsError when the Job fails, TimedOutError when it does not end.
    """
    settings = session.settings.model_copy(update={"weights_timeout": _LONGEST})
    bounded, model = replace(session, settings=settings), any_model(pruning.model)
    verdict, claim_name = Verdict(pruning.model, "", PRUNE), manifests.claim_name(pruning.model)
    _forget(session, claim_name, pruning.keep)
    _remove_jobs(session, pruning.model)
    session.cluster.apply(manifests.weights_program(verdict))
    session.cluster.apply(manifests.weights_job(model, verdict, settings, order))
    state = end_of(bounded, verdict)
    name = manifests.job_name(pruning.model, PRUNE)
    if state.phase == "failed":
        raise WeightsError(
            "its volume could not be pruned",
            why=state.text,
            next_command=f"kubectl -n {settings.namespace} logs job/{name}",
            model=pruning.model,
        )
    _forget(session, claim_name, state.commits or pruning.keep)
    session.cluster.delete("ConfigMap", name)
    session.cluster.delete("Job", name)
    speaker(pruning.model)(f"{human_bytes(state.freed)} freed")
    return state.freed


@task(task_run_name="delete the volume of {pruning.model}", **RETRIED)
def delete_volume(session: Session, pruning: Pruning) -> None:
    """Delete the claim of a model that nobody uses, and the Jobs that filled it."""
    _remove_jobs(session, pruning.model)
    if session.cluster.delete(_CLAIM, manifests.claim_name(pruning.model)):
        speaker(pruning.model)("its volume is deleted")


def _forget(session: Session, claim_name: str, keep: tuple[str, ...]) -> None:
    """Take from the claim's record all but these commits."""
    claim = session.cluster.get(_CLAIM, claim_name)
    if claim is not None:
        record = {WEIGHTS_ANNOTATION: record_of(claim, keep)}
        session.cluster.annotate(_CLAIM, claim_name, record)


def _remove_jobs(session: Session, model: str) -> None:
    """Delete the model's Jobs: a complete one would be taken for what it fetched."""
    for job in session.cluster.find("Job", f"{MODEL_LABEL}={model}"):
        remove_job(session, model, job["metadata"]["name"])
