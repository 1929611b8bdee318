"""Looking at one Deployment again and again: what to ask the cluster, and what lasts.

A Deployment that loads costs one list of its pods a look; a log or events are asked for when they
may tell more, and of pods that load only every few seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from vllm_flows.cluster import Cluster, Object
from vllm_flows.diagnosis import Evidence, Question, diagnose, questions
from vllm_flows.diagnosis_categories import Category, Diagnosis
from vllm_flows.diagnosis_crashes import PodEvidence, runs_ended
from vllm_flows.diagnosis_logs import LOG_LINES
from vllm_flows.errors import NoRightError
from vllm_flows.observed import MODEL_LABEL

_ASK_SECONDS = 5.0
_PODS_ASKED_ABOUT = 3
"""Replicas have one template: what is wrong with three of them is wrong with all."""


class ReadinessWatch:
    """The eyes of one wait; `now` returns seconds on a clock that only goes forward.

    `last` is the last diagnosis, None before the first.
    """

    def __init__(
        self, cluster: Cluster, now: Callable[[], float], *, autoscaling: bool = False
    ) -> None:
        self._cluster, self._now, self._autoscaling = cluster, now, autoscaling
        self.last: Diagnosis | None = None
        self._ended: dict[str, int] | None = None
        self._evidence = Evidence()
        self._asked = float("-inf")
        self._lasting: tuple[Category, float] | None = None

    def diagnose(self, deployment: Object, *, making_room: bool = False) -> Diagnosis:
        """Return why the Deployment is not complete; definite also once it has lasted long enough.

        `making_room`: what others hold becomes free. Raises what `Cluster` raises, but for rights
        that only the details would need.
        """
        labels = deployment["spec"]["selector"]["matchLabels"]
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        pods = self._cluster.find("Pod", selector)
        self._look_closer(pods, questions(deployment, pods)[:_PODS_ASKED_ABOUT])
        evidence = replace(self._evidence, ending=self._evidence.ending or making_room)
        found = diagnose(deployment, pods, evidence, autoscaling=self._autoscaling)
        self.last = self._settled(found)
        return self.last

    def _settled(self, found: Diagnosis) -> Diagnosis:
        """Make definite what stays as it is for as long as it names."""
        if found.settles_after is None:
            self._lasting = None
            return found
        if self._lasting is None or self._lasting[0] is not found.category:
            self._lasting = (found.category, self._now())
        lasted = self._now() - self._lasting[1]
        return replace(found, definite=found.definite or lasted >= found.settles_after)

    def _look_closer(self, pods: Sequence[Object], asked: Sequence[Question]) -> None:
        ended = {pod["metadata"]["uid"]: runs_ended(pod) for pod in pods}
        if self._ended is None:
            self._ended = ended
        due = self._now() - self._asked >= _ASK_SECONDS
        if not due and not any(question.urgent for question in asked):
            return
        if due:
            self._asked = self._now()
        before = self._ended
        crashed = {
            pod["metadata"]["name"]
            for pod in pods
            if ended[pod["metadata"]["uid"]] > before.get(pod["metadata"]["uid"], 0)
        }
        filled = self._filled(pods) if any(question.ended for question in asked) else ""
        self._evidence = Evidence(
            pods={
                question.pod: replace(self._answer(question, crashed), filled=filled)
                for question in asked
            },
            nodes=self._nodes() if any(question.nodes for question in asked) else {},
            ending=self._ending() if any(question.nodes for question in asked) else False,
        )

    def _answer(self, question: Question, crashed: set[str]) -> PodEvidence:
        crashed_now = question.ended and question.pod in crashed
        log = partial(self._cluster.log, question.pod, question.container)
        return PodEvidence(
            events=self._events(question.pod) if question.events else (),
            log=log(question.lines) if question.lines else "",
            previous=log(LOG_LINES, previous=True) if crashed_now else "",
            crashed_now=crashed_now,
        )

    def _filled(self, pods: Sequence[Object]) -> str:
        """Return when the last of the model's weights Jobs was complete, empty without one."""
        models = {str((pod["metadata"].get("labels") or {}).get("model", "")) for pod in pods}
        jobs = [
            job
            for model in sorted(models - {""})
            for job in self._cluster.find("Job", f"{MODEL_LABEL}={model}")
        ]
        return max((job.get("status", {}).get("completionTime") or "" for job in jobs), default="")

    def _events(self, pod: str) -> Sequence[Object]:
        fields = f"involvedObject.kind=Pod,involvedObject.name={pod}"
        return _permitted(lambda: self._cluster.find("Event", fields=fields))

    def _nodes(self) -> dict[str, Object]:
        return {
            node["metadata"]["name"]: node
            for node in _permitted(lambda: self._cluster.find("Node"))
        }

    def _ending(self) -> bool:
        """Say whether any pod of the namespace is on its way out: a model may make room for one."""
        return any("deletionTimestamp" in pod["metadata"] for pod in self._cluster.find("Pod"))


def _permitted(ask: Callable[[], list[Object]]) -> list[Object]:
    try:
        return ask()
    except NoRightError:
        return []
