"""Why the pod of a weights Job does not run: asked and told as of the engines' pods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from vllm_flows.cluster import Cluster, Object
from vllm_flows.diagnosis_categories import Category, Diagnosis, Place
from vllm_flows.diagnosis_watch import ReadinessWatch
from vllm_flows.errors import NoRightError
from vllm_flows.observed import MODEL_LABEL
from vllm_flows.weights import at_rest, newest_pod
from vllm_flows.weights_refusals import for_a_job, refusal_of

_TRIED_AGAIN_SECONDS = 90.0
"""What another Job's pod held is free: by then Kubernetes has tried this one again. Its Job
controller pauses for 60 s at most (MaxJobApiBackOff in kubernetes/pkg/controller/job)."""
_OVER = {"Succeeded", "Failed"}
_UNKNOWN_YET = {Category.UNSCHEDULABLE, Category.CLAIM_UNBOUND}


class WeightsWatch:
    """The eyes of the wait for one Job; `now` returns seconds on a clock that only goes forward.

    `last` is the last diagnosis, None when nothing was in the way.
    """

    def __init__(
        self, cluster: Cluster, now: Callable[[], float], *, autoscaling: bool = False
    ) -> None:
        self._cluster, self._now = cluster, now
        self._watch = ReadinessWatch(cluster, now, autoscaling=autoscaling)
        self._crowded = float("-inf")
        self.last: Diagnosis | None = None

    def trouble(self, job: Object, pods: Sequence[Object]) -> Diagnosis | None:
        """Return what keeps the Job's next pod from running, None when nothing is known to.

        Room and quota that Jobs of other models hold become free by themselves.
        """
        resting = at_rest(pods)
        refused = refusal_of(self._events(job), job, newest_pod(pods)) if resting else ""
        self.last = None
        if not resting or refused:
            shape = _as_deployment(job, refused)
            found = self._watch.diagnose(shape, making_room=self._others_fetch(job))
            if found.category is Category.STARTING:
                return None
            self.last = self._unbound(job, found) or for_a_job(found, self._cluster.namespace)
        return self.last

    def _events(self, of: Object) -> list[Object]:
        fields = f"involvedObject.kind={of['kind']},involvedObject.name={of['metadata']['name']}"
        try:
            return self._cluster.find("Event", fields=fields)
        except NoRightError:
            return []

    def _others_fetch(self, job: Object) -> bool:
        """Say whether Jobs of other models are at work, or have just ended."""
        mine = job["metadata"]["labels"][MODEL_LABEL]
        others = self._cluster.find("Pod", f"{MODEL_LABEL},{MODEL_LABEL}!={mine}")
        if any(pod.get("status", {}).get("phase") not in _OVER for pod in others):
            self._crowded = self._now()
        return self._now() - self._crowded < _TRIED_AGAIN_SECONDS

    def _unbound(self, job: Object, found: Diagnosis) -> Diagnosis | None:
        """Return that the claim has no volume yet, and what its provisioner said last."""
        if found.category not in _UNKNOWN_YET or found.definite:
            return None
        name = _claim_of(job)
        claim = self._cluster.get("PersistentVolumeClaim", name)
        if claim is None or claim.get("status", {}).get("phase") == "Bound":
            return None
        said = [event["message"] for event in self._events(claim) if event.get("message")]
        place = Place(self._cluster.namespace, job["metadata"]["name"], found.pod, claim=name)
        diagnosis = place.diagnosis(
            Category.CLAIM_UNBOUND, f"its claim {name} has no volume yet", (said or [""])[-1]
        )
        return replace(diagnosis, summary=f"{diagnosis.summary}   ({diagnosis.next_command})")


def _claim_of(job: Object) -> str:
    volumes = job["spec"]["template"]["spec"]["volumes"]
    names = [each.get("persistentVolumeClaim", {}).get("claimName") for each in volumes]
    return str(next(filter(None, names), ""))


def _as_deployment(job: Object, refused: str) -> Object:
    """Return the Job in the shape that the diagnosis reads: one pod is wanted of it."""
    metadata = job["metadata"]
    condition = {"type": "ReplicaFailure", "status": "True", "message": refused}
    return {
        "metadata": {**metadata, "generation": 0},
        "spec": {
            "replicas": 1,
            "selector": job["spec"]["selector"],
            "template": {"metadata": {}},
        },
        "status": {"conditions": [condition] if refused else []},
    }
