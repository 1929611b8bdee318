"""Wait until a Deployment's pods are ready, or until it is clear that they never will be."""

from __future__ import annotations

from prefect import task

from tasks.running import ONCE, speaker
from vllm_flows.diagnosis import Diagnosis, diagnose, last_words, rollout_complete
from vllm_flows.errors import NotReadyError, TimedOutError
from vllm_flows.session import Session
from vllm_flows.waiting import Pending, wait_for

_POLL_SECONDS = 1.0
_LOG_LINES = 40


@task(task_run_name="wait until {subject} is ready", **ONCE)
def wait_ready(session: Session, subject: str, deployment: str) -> float:
    """Return the seconds until all replicas of the Deployment were ready.

    Raises NotReadyError at once when waiting cannot help, and TimedOutError after
    `helm_timeout`, both with the diagnosis and the command that shows more.
    """
    say = speaker(subject)
    clock = session.clock
    begin = clock.now()
    wait_for(
        lambda: _look(session, subject, deployment),
        seconds=session.settings.helm_timeout.total_seconds(),
        every=_POLL_SECONDS,
        say=say,
        out_of_time=lambda last: _too_late(session, subject, deployment, last),
        clock=clock,
    )
    say("ready")
    return clock.now() - begin


def _look(session: Session, subject: str, name: str) -> bool | Pending:
    deployment = session.cluster.get("Deployment", name)
    if deployment is None:
        raise NotReadyError(
            f"Deployment {name} is gone",
            next_command=f"vllm-flows install   (or: helm -n {session.settings.namespace} ls -a)",
            model=subject,
        )
    if rollout_complete(deployment):
        return True
    diagnosis = _diagnose(session, deployment)
    if diagnosis.definite:
        raise NotReadyError(
            diagnosis.summary,
            why=_evidence(session, diagnosis),
            next_command=diagnosis.next_command,
            model=subject,
        )
    return Pending(diagnosis.summary)


def _diagnose(session: Session, deployment: dict[str, object]) -> Diagnosis:
    labels = deployment["spec"]["selector"]["matchLabels"]  # type: ignore[index]  # a plain object
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    return diagnose(deployment, session.cluster.find("Pod", selector))


def _evidence(session: Session, diagnosis: Diagnosis) -> str:
    """Return the pod's last words when it had any."""
    return last_words(session.cluster.log(diagnosis.pod, lines=_LOG_LINES)) if diagnosis.pod else ""


def _too_late(session: Session, subject: str, name: str, last: str) -> TimedOutError:
    namespace = session.settings.namespace
    return TimedOutError(
        f"not ready after {session.settings.helm_timeout}",
        why=last,
        next_command=f"kubectl -n {namespace} describe deployment {name}   "
        "(VLLM_HELM_TIMEOUT sets the limit)",
        model=subject,
    )
