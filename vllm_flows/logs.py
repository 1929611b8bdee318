"""The logs of what runs: of a model's engines, of the router, of a weights Job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vllm_flows.cluster import Object
from vllm_flows.errors import NotDeployedError, NotReadyError, VllmFlowsError
from vllm_flows.log_following import LogFollower, Look
from vllm_flows.log_sources import Position, Source, sources
from vllm_flows.observed import MODEL_LABEL
from vllm_flows.pod_logs import read_log
from vllm_flows.reaching import find_target, why_not_ready
from vllm_flows.session import Session


@dataclass(frozen=True)
class Logs:
    """Whose logs they are: the pods of now, why they may have written nothing, when it is over."""

    session: Session
    subject: str
    pods: Callable[[], Sequence[Object]]
    why_silent: Callable[[], VllmFlowsError]
    is_over: Callable[[Sequence[Object]], bool]

    def readable(self, *, newest_only: bool, previous: bool) -> list[Source]:
        """Return the logs that can be read now. Raises the reason when there are none."""
        found = [one for one in sources(self.pods(), newest_only=newest_only) if not one.waits]
        if not found:
            raise self.why_silent()
        if previous and not (found := [one for one in found if one.ended]):
            raise VllmFlowsError(
                "there is no earlier run: no container has started anew",
                next_command="the same command without --previous",
                model=self.subject,
            )
        return found

    def read(self, source: Source, tail: int | None, *, previous: bool) -> Iterator[bytes]:
        """Yield the lines there are now."""
        lines = read_log(self.session.cluster, source, tail=tail, previous=previous)
        return Position().after(lines)

    def follower(
        self, say: Callable[[str], None], tail: int | None, *, newest_only: bool
    ) -> LogFollower:
        """Return what follows them, pod after pod."""
        cluster = self.session.cluster
        kept: set[str] = set()

        def look() -> Look:
            pods = self.pods()
            found = sources(pods)
            if newest_only:  # one is kept to its end
                kept.intersection_update(one.pod for one in found)
                kept.update(one.pod for one in sources(pods, newest_only=True) if not kept)
                found = [one for one in found if one.pod in kept]
            return Look(tuple(found), over=self.is_over(pods))

        return LogFollower(
            look,
            lambda one, lines, seconds: read_log(
                cluster, one, tail=lines, seconds=seconds, follow=True
            ),
            say,
            self.session.clock,
            tail,
        )


def model_logs(session: Session, model: str) -> Logs:
    """Return the logs of the model's engines, without a model the router's.

    Raises NotDeployedError.
    """
    target = find_target(session, model)
    name = target.deployment["metadata"]["name"]
    return Logs(
        session,
        target.subject,
        lambda: session.cluster.find("Pod", target.selector),
        lambda: why_not_ready(session, target),
        lambda pods: not pods and session.cluster.get("Deployment", name) is None,
    )


def weights_logs(session: Session, model: str) -> Logs:
    """Return the logs of the model's latest weights Job. Raises NotDeployedError without one."""

    def job() -> Object | None:
        jobs = session.cluster.find("Job", f"{MODEL_LABEL}={model}")
        return max(jobs, key=lambda one: str(one["metadata"]["creationTimestamp"]), default=None)

    def over(_: Sequence[Object]) -> bool:
        now = job()
        conditions = ((now or {}).get("status") or {}).get("conditions") or []
        ended = {one["type"] for one in conditions if one["status"] == "True"}
        return now is None or bool(ended & {"Complete", "Failed"})

    found = job()
    if found is None:
        raise NotDeployedError(
            "has no weights Job",
            why="nothing is being fetched; a Job is removed a day after its end",
            next_command=f"vllm-flows logs {model}",
            model=model,
        )
    name = found["metadata"]["name"]
    return Logs(
        session,
        model,
        lambda: session.cluster.find("Pod", f"job-name={name}"),
        lambda: _silent_job(session, model, name),
        over,
    )


def _silent_job(session: Session, model: str, job: str) -> VllmFlowsError:
    waits = [one.waits for one in sources(session.cluster.find("Pod", f"job-name={job}"))]
    return NotReadyError(
        "its weights Job has written nothing yet",
        why=waits[-1] if waits else "it has no pod",
        next_command=f"kubectl -n {session.settings.namespace} describe job {job}",
        model=model,
    )
