"""Wait until a Deployment's pods are ready, or until it is clear that they never will be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.running import ONCE, RETRIED, speaker, task
from vllm_flows.cluster import Object
from vllm_flows.diagnosis import newest_pods, rollout_complete
from vllm_flows.diagnosis_categories import Diagnosis
from vllm_flows.diagnosis_watch import ReadinessWatch
from vllm_flows.errors import NoRightError, NotReadyError
from vllm_flows.models import Model
from vllm_flows.overlap import new_are_ready
from vllm_flows.proof import EarlyProof
from vllm_flows.readiness import NOT_ANSWERING, ready_or_why, too_late
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds
from vllm_flows.standing_aside import LACKS_ROOM, in_the_way
from vllm_flows.waiting import Pending, wait_for

_POLL_SECONDS = 1.0


@task(task_run_name="wait until {subject} is ready", **ONCE)
def wait_ready(
    session: Session,
    subject: str,
    deployment: str,
    budget: float = 0.0,
    *,
    back: bool = False,
    beside: bool = False,
    asked: Model | None = None,
) -> float:
    """Return the seconds until all replicas of the Deployment were ready.

    Raises NotReadyError as soon as waiting cannot help, and TimedOutError after `helm_timeout`, or
    `budget` seconds where that is longer, both with the diagnosis and the command to run next.
    Where no room is free, older pods of the Deployment that are not ready are ended; if it goes
    `back`, those that are ready too. `beside`: the rollout is held, and older pods stay. Each new
    replica of the model that is `asked` has to answer by itself as soon as it is ready: raises
    CompletionError for a wrong answer.
    """
    say = speaker(subject)
    clock = session.clock
    autoscaling = session.settings.autoscaling
    watch = ReadinessWatch(session.cluster, clock.now, autoscaling=autoscaling)
    early = EarlyProof(session, asked, patient=beside) if asked else None
    limit, begin = max(budget, session.settings.helm_timeout.total_seconds()), clock.now()
    wait_for(
        lambda: _look(session, watch, subject, deployment, early, back=back, beside=beside),
        seconds=limit,
        every=_POLL_SECONDS,
        say=say,
        out_of_time=lambda said: too_late(
            subject,
            watch,
            said,
            human_seconds(limit),
            "VLLM_HELM_TIMEOUT sets the limit",
        ),
        clock=clock,
    )
    say("ready")
    return clock.now() - begin


@task(name="look who is ready", task_run_name="look who is ready", **RETRIED)
def ready_now(session: Session) -> list[str]:
    """Return the names of the Deployments whose replicas are all ready: one request for all."""
    found = session.cluster.find("Deployment")
    return [str(one["metadata"]["name"]) for one in found if rollout_complete(one)]


@task(task_run_name="restart {subject}", **RETRIED)
def restart_newest(session: Session, subject: str, deployment: str) -> None:
    """Delete the Deployment's pods of the newest template, so that new ones take their place."""
    del subject  # it names the task
    found = session.cluster.get("Deployment", deployment)
    if found is None:
        return
    for pod in _newest(session, found):
        session.cluster.delete("Pod", pod["metadata"]["name"])


def _newest(session: Session, deployment: Object) -> list[Mapping[str, Any]]:
    """Return the Deployment's pods of the newest template."""
    labels = deployment["spec"]["selector"]["matchLabels"]
    pods = session.cluster.find("Pod", ",".join(f"{key}={value}" for key, value in labels.items()))
    return list(newest_pods(deployment, pods))


def _look(
    session: Session,
    watch: ReadinessWatch,
    subject: str,
    name: str,
    early: EarlyProof | None,
    *,
    back: bool,
    beside: bool,
) -> bool | Pending:
    deployment = session.cluster.get("Deployment", name)
    if deployment is None:
        raise NotReadyError(
            f"Deployment {name} is gone",
            next_command=f"vllm-flows install   (or: helm -n {session.settings.namespace} ls -a)",
            model=subject,
        )
    newest = _newest(session, deployment) if early or beside else []
    answering = True
    if early and (beside or not rollout_complete(deployment)):
        answering = early.ask(newest)
    if beside and new_are_ready(deployment, newest):
        return answering or Pending(NOT_ANSWERING)

    def make_way(diagnosis: Diagnosis) -> bool:
        lacks_room = diagnosis.category in LACKS_ROOM
        return lacks_room and made_way(session, subject, deployment, back=back)

    return ready_or_why(subject, deployment, watch, make_way)


def made_way(session: Session, subject: str, deployment: Object, *, back: bool) -> bool:
    """End older pods of a Deployment that hold the room; say whether there were any.

    `back` as in `wait_ready`.
    """
    try:
        sets = session.cluster.find("ReplicaSet")
        found = in_the_way(deployment, sets, answering=back)
        for one in found:
            name = one["metadata"]["name"]
            session.cluster.merge("ReplicaSet", name, {"spec": {"replicas": 0}})
            speaker(subject)(f"the older pods of ReplicaSet {name} end, they hold its room")
    except NoRightError:
        return False
    return bool(found)
