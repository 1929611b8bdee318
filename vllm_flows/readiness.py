"""Whether a Deployment is ready; if not, why, and whether waiting can help."""

from __future__ import annotations

from collections.abc import Callable

from vllm_flows.cluster import Object
from vllm_flows.diagnosis import rollout_complete
from vllm_flows.diagnosis_categories import Diagnosis
from vllm_flows.diagnosis_watch import ReadinessWatch
from vllm_flows.errors import NO_ANSWER, NotReadyError, TimedOutError
from vllm_flows.waiting import Pending

NOT_ANSWERING = "ready, and does not answer yet"


def ready_or_why(
    subject: str,
    deployment: Object,
    watch: ReadinessWatch,
    make_way: Callable[[Diagnosis], bool] = lambda _: False,
) -> bool | Pending:
    """Return True once all replicas are ready, else what is waited for.

    `make_way` may see to it that pods find room, and says whether it did. Raises NotReadyError,
    with the diagnosis, when waiting cannot help.
    """
    if rollout_complete(deployment):
        return True
    diagnosis = watch.diagnose(deployment)
    if make_way(diagnosis):
        return Pending(f"{diagnosis.summary}; older pods end")
    if diagnosis.definite:
        raise NotReadyError(
            f"{diagnosis.summary} [{diagnosis.category}]",
            why=diagnosis.detail,
            next_command=diagnosis.next_command,
            model=subject,
            category=diagnosis.category,
        )
    return Pending(diagnosis.summary)


def too_late(
    subject: str, watch: ReadinessWatch, said: str, limit: str, setting: str
) -> TimedOutError:
    """Return the error for the end of a wait, with the last diagnosis and its next command.

    `said` is what was waited for then, which may be something else than that diagnosis.
    """
    last = watch.last
    still = last is not None and said.startswith(last.summary)
    category = str(last.category) if last and still else ""
    told = f"{said} [{category}]\n{last.detail}".strip() if last and still else said
    return TimedOutError(
        f"not ready after {limit}",
        why=told,
        next_command=f"{last.next_command if last else 'kubectl cluster-info'}   ({setting})",
        model=subject,
        category=NO_ANSWER if said == NOT_ANSWERING else category,
    )


def scaled_to_none(subject: str) -> NotReadyError:
    """Return the error for a Deployment that is to have no pod, while somebody wants an answer."""
    return NotReadyError(
        "is scaled to no replicas",
        next_command="vllm-flows install   (replicaCount in models.yaml says how many)",
        model=subject,
    )
