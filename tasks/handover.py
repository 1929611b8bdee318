"""Let Deployments that select other pods take over what runs, without a pod being ended for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tasks.running import say
from vllm_flows.cluster import Cluster, Object
from vllm_flows.errors import TimedOutError
from vllm_flows.selectors import (
    LEFT_LABEL,
    Labels,
    deployment_of,
    left_alone,
    owned_by,
    selected,
)
from vllm_flows.session import Session
from vllm_flows.waiting import Pending, wait_for

_GONE_SECONDS = 60.0
_POLL_SECONDS = 0.2


def hand_over(session: Session, wanted: Mapping[str, Labels]) -> None:
    """Delete each Deployment that selects something else than is wanted; its pods serve on.

    They and their ReplicaSets get the labels that the Deployment of that name will select, also
    those that an interrupted run left. It is for helm to make that Deployment. What selects what is
    wanted already stays as it is.
    """
    if not wanted:
        return
    cluster = session.cluster
    replica_sets = cluster.find("ReplicaSet")
    for name, labels in wanted.items():
        deployment = cluster.get("Deployment", name)
        if deployment is None:
            left = [one for one in left_alone(replica_sets) if deployment_of(one) == name]
            _label(cluster, left, labels)
        elif selected(deployment) != labels:
            _label(cluster, owned_by(deployment, replica_sets), labels)
            cluster.delete("Deployment", name, alone=True)
            wait_gone(session, "Deployment", name)
            say(f"Deployment {name} deleted without its pods, which serve on")


def _label(cluster: Cluster, replica_sets: Sequence[Object], labels: Labels) -> None:
    """Write labels on ReplicaSets and their pods; the pods stay those of their ReplicaSet."""
    for one in replica_sets:
        theirs = ",".join(f"{key}={value}" for key, value in selected(one).items())
        pods = cluster.find("Pod", theirs)
        marks = {**labels, LEFT_LABEL: "true"}
        cluster.merge("ReplicaSet", one["metadata"]["name"], {"metadata": {"labels": marks}})
        for pod in pods:
            cluster.merge("Pod", pod["metadata"]["name"], {"metadata": {"labels": dict(labels)}})


def wait_gone(session: Session, kind: str, name: str) -> None:
    """Wait until an object that was deleted alone is gone. Raises TimedOutError after a minute."""

    def ask() -> bool | Pending:
        there = {one["metadata"]["name"] for one in session.cluster.find(kind)}
        return Pending(f"{kind} {name} is being deleted") if name in there else True

    wait_for(
        ask,
        seconds=_GONE_SECONDS,
        every=_POLL_SECONDS,
        say=lambda _: None,
        out_of_time=lambda last: TimedOutError(
            last,
            next_command=f"kubectl -n {session.settings.namespace} get {kind} {name} -o yaml",
        ),
        clock=session.clock,
    )


def delete_left(cluster: Cluster, deployments: Collection[str] | None = None) -> None:
    """Delete ReplicaSets, with their pods, that a run left without these Deployments, or any."""
    for one in left_alone(cluster.find("ReplicaSet", LEFT_LABEL)):
        name = one["metadata"]["name"]
        wanted = deployments is None or deployment_of(one) in deployments
        if wanted and cluster.delete("ReplicaSet", name):
            say(f"ReplicaSet {name} was left without its Deployment: deleted")
