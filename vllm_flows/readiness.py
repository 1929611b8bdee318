"""Whether a Deployment is ready; if not, why, and whether waiting can help."""

from __future__ import annotations

from collections.abc import Callable

from vllm_flows.cluster import Object
from vllm_flows.diagnosis import rollout_complete
from vllm_flows.diagnosis_categories import OF_THE_ENGINE, Diagnosis
from vllm_flows.diagnosis_watch import ReadinessWatch
from vllm_flows.errors import EngineFailedError, NotReadyError, TimedOutError
from vllm_flows.waiting import Pending


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
        kind = EngineFailedError if diagnosis.category in OF_THE_ENGINE else NotReadyError
        raise kind(
            f"{diagnosis.summary} [{diagnosis.category}]",
            why=diagnosis.detail,
            next_command=diagnosis.next_command,
            model=subject,
        )
    return Pending(diagnosis.summary)


def too_late(
    subject: str, watch: ReadinessWatch, said: str, limit: object, setting: str
) -> TimedOutError:
    """Return the error for the end of a wait, with the last diagnosis and its next command."""
    last = watch.last
    return TimedOutError(
        f"not ready after {limit}",
        why=f"{said} [{last.category}]\n{last.detail}".strip() if last else said,
        next_command=f"{last.next_command if last else 'kubectl cluster-info'}   ({setting})",
        model=subject,
    )


def scaled_to_none(subject: str) -> NotReadyError:
    """Return the error for a Deployment that is to have no pod, while somebody wants an answer."""
    return NotReadyError(
        "is scaled to no replicas",
        next_command="vllm-flows install   (replicaCount in models.yaml says how many)",
        model=subject,
    )
