"""How the deployed models are, from the cluster's objects. Pure; objects in, data out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from vllm_flows.names import (
    ROUTER_DEPLOYMENT,
    ROUTER_SERVICE,
    engine_deployment,
    engine_service,
)
from vllm_flows.observed import (
    API_KEY_ANNOTATION,
    DIGEST_ANNOTATION,
    PROVEN_ANNOTATION,
    REVISION_ANNOTATION,
)

Object = Mapping[str, Any]

ROUTER = "(router)"
"""The router's name among the models; no model can have it."""
_GPU = "nvidia.com/gpu"
_UNSEEN = "it was changed, and not seen to answer since"
_BEHIND = "the API key was changed, and the router does not have it yet: it answers nobody"
_GIVES = "vllm-flows install   (the router gets the key; unless a run is at work)"
ASKS = (
    "vllm-flows update {model}   (it is asked; onFailure says what then; unless a run is at work)"
)
"""The command that proves a model which an interrupted run left, whatever was changed."""


class Health(StrEnum):
    """How one model, or the router, is.

    UNPROVEN: its replicas are ready, and it was not yet seen to answer with these options; where
    it did with others before, its status has the command that asks it.
    UNSETTLED: enough replicas are ready, and more or others are on their way.
    """

    READY = "ready"
    UNPROVEN = "not proven"
    UNSETTLED = "changing"
    DEGRADED = "degraded"
    DOWN = "down"
    AT_REST = "at rest"
    ABSENT = "not deployed"


UNHEALTHY = frozenset({Health.DEGRADED, Health.DOWN, Health.ABSENT})


@dataclass(frozen=True)
class Status:
    """One model, or the router. `age` in seconds is that of its oldest pod, None without one.

    `gpus` are those that its pods hold. `restarts` counts those of all containers of its pods.
    `diagnosis` says why it is not ready, `next_command` what to do about it; "" when it is.
    """

    name: str
    health: Health
    revision: str = ""
    wanted: int = 0
    ready: int = 0
    gpus: int = 0
    nodes: tuple[str, ...] = ()
    age: float | None = None
    restarts: int = 0
    endpoint: str = ""
    diagnosis: str = ""
    category: str = ""
    next_command: str = ""


def status_of(
    objects: Iterable[Object], replicas: Mapping[str, int], namespace: str, now: datetime
) -> list[Status]:
    """Return the models in the order of models.yaml, then those no longer listed, the router last.

    `objects` are Deployments, pods, Services and claims of the namespace, in any order. `replicas`
    are those that models.yaml wants of each model, and the settings of the ROUTER: what was scaled
    to none in spite of them is down, anything else that is to have none is at rest.
    """
    kinds: dict[str, list[Object]] = {}
    for item in objects:
        kinds.setdefault(item["kind"], []).append(item)
    services = {item["metadata"]["name"] for item in kinds.get("Service", [])}
    proven = _proven(kinds.get("PersistentVolumeClaim", []))
    deployed = {name: one for one in kinds.get("Deployment", []) if (name := _subject(one))}
    listed = [name for name in replicas if name != ROUTER]
    names = [*listed, *sorted(deployed.keys() - {*listed, ROUTER})]
    names += [ROUTER] if ROUTER in deployed else []
    found = []
    for name in names:
        endpoint = _endpoint(name, services, namespace)
        if name not in deployed:
            found.append(_absent(name))
            continue
        pods = _pods_of(deployed[name], kinds.get("Pod", []))
        one = _one(name, deployed[name], pods, proven.get(name), endpoint, now)
        found.append(_scaled_to_none(one, replicas.get(name, 0)))
    ahead = _before_the_router(deployed)
    return [_without_router(one) if one.name in ahead else one for one in found]


def _subject(deployment: Object) -> str:
    """Return whose Deployment it is, "" for somebody else's."""
    if deployment["metadata"]["name"] == ROUTER_DEPLOYMENT:
        return ROUTER
    return str((deployment["metadata"].get("labels") or {}).get("model", ""))


def deployment_of(objects: Iterable[Object], name: str) -> Object | None:
    """Return the Deployment of a model or of the router, None without one."""
    found = (item for item in objects if item["kind"] == "Deployment" and _subject(item) == name)
    return next(found, None)


def _proven(claims: Iterable[Object]) -> dict[str, str]:
    """Return by model the digest of the configuration that was last seen to answer."""
    annotations = {
        claim["metadata"]["name"].removeprefix("weights-"): claim["metadata"].get("annotations")
        for claim in claims
    }
    return {
        name: next(iter((noted or {}).get(PROVEN_ANNOTATION, "").split()), "")
        for name, noted in annotations.items()
    }


def _endpoint(name: str, services: Collection[str], namespace: str) -> str:
    """Return the address in the cluster: the router's for all, where there is one."""
    own = "" if name == ROUTER else engine_service(name)
    service = ROUTER_SERVICE if ROUTER_SERVICE in services else own
    return f"http://{service}.{namespace}.svc.cluster.local" if service in services else ""


def _absent(name: str) -> Status:
    told = "models.yaml lists it, and the cluster does not have it"
    return Status(name, Health.ABSENT, diagnosis=told, next_command="vllm-flows install")


def _scaled_to_none(status: Status, wanted: int) -> Status:
    """Return the status; one that is at rest though replicas are wanted of it is down."""
    if status.health is not Health.AT_REST or not wanted:
        return status
    where = "VLLM_ROUTER_REPLICAS" if status.name == ROUTER else "models.yaml"
    told = f"it was scaled to 0 replicas, and {where} wants {wanted}"
    return replace(status, health=Health.DOWN, diagnosis=told, next_command="vllm-flows install")


def _annotations(deployment: Object) -> Mapping[str, str]:
    """Return the annotations of its newest pods."""
    found: Mapping[str, str] = deployment["spec"]["template"]["metadata"].get("annotations") or {}
    return found


def _before_the_router(deployed: Mapping[str, Object]) -> Collection[str]:
    """Return the models whose new replicas hold a key that the router has not got yet.

    Engines get one all together, and the router after them. Once it has it, an engine with the mark
    of before is one that went back: what started anew has read the key of now. One without a key
    takes any.
    """
    marks = {
        name: mark
        for name, one in deployed.items()
        if one["metadata"]["name"] == engine_deployment(name)
        and (mark := _annotations(one).get(API_KEY_ANNOTATION))
    }
    router = deployed.get(ROUTER)
    if router is None or _annotations(router).get(API_KEY_ANNOTATION) in marks.values():
        return ()
    return marks


def _without_router(status: Status) -> Status:
    """Return the status of a model whose new replicas the router does not reach with its key."""
    if status.health is Health.UNSETTLED:  # why it is so is still to be looked at
        return replace(status, next_command=_GIVES)
    if status.health is Health.UNPROVEN:  # what was seen to answer as it is went back, and does
        return replace(status, health=Health.DEGRADED, diagnosis=_BEHIND, next_command=_GIVES)
    return status


def next_of(status: Status, diagnosed: str) -> str:
    """Return what to do next: what its diagnosis says, unless something else comes before that."""
    is_to_be_asked = diagnosed == ASKS.format(model=status.name)
    return status.next_command if is_to_be_asked and status.next_command else diagnosed


def _pods_of(deployment: Object, pods: Iterable[Object]) -> list[Object]:
    wanted = deployment["spec"]["selector"]["matchLabels"].items()
    return [
        pod
        for pod in pods
        if wanted <= (pod["metadata"].get("labels") or {}).items()
        and pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}
    ]


def _one(
    name: str,
    deployment: Object,
    pods: Sequence[Object],
    proven: str | None,
    endpoint: str,
    now: datetime,
) -> Status:
    annotations = _annotations(deployment)
    wanted = deployment["spec"].get("replicas", 1)
    ready = (deployment.get("status") or {}).get("readyReplicas", 0)
    other = proven is not None and proven != annotations.get(DIGEST_ANNOTATION, "")
    unproven = other and not _embeds(deployment)
    ages = [_age(pod, now) for pod in pods]
    health = _health(deployment, wanted, ready, unproven=unproven)
    changed = health is Health.UNPROVEN and bool(proven)
    return Status(
        name,
        health,
        revision=annotations.get(REVISION_ANNOTATION, ""),
        wanted=wanted,
        ready=ready,
        gpus=sum(map(_gpus, pods)),
        nodes=tuple(sorted({pod["spec"]["nodeName"] for pod in pods if _bound(pod)})),
        age=max(ages, default=None),
        restarts=sum(map(_restarts, pods)),
        endpoint=endpoint,
        diagnosis=_UNSEEN if changed else "",
        next_command=ASKS.format(model=name) if changed else "",
    )


def _health(deployment: Object, wanted: int, ready: int, *, unproven: bool) -> Health:
    if not wanted:
        return Health.AT_REST
    if not ready:
        return Health.DOWN
    if ready < wanted:
        return Health.DEGRADED
    status = deployment["status"]
    newest = status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0)
    if not newest or status.get("updatedReplicas", 0) < wanted or status.get("replicas") != wanted:
        return Health.UNSETTLED
    return Health.UNPROVEN if unproven else Health.READY


def _embeds(deployment: Object) -> bool:
    """Say whether it is a pooling model: no prompt is ever answered, and nothing is to be proven.

    models.yaml's `runner` and `convert` are arguments of the engine.
    """
    words = engine_words(deployment)
    return "--convert" in words or ("--runner", "pooling") in pairwise(words)


def engine_words(deployment: Object) -> list[str]:
    """Return the words of the engine's command line, the repository's id among them."""
    return [
        word
        for one in deployment["spec"]["template"]["spec"]["containers"]
        for word in [*(one.get("command") or []), *(one.get("args") or [])]
    ]


def _bound(pod: Object) -> bool:
    return bool(pod["spec"].get("nodeName"))


def _gpus(pod: Object) -> int:
    """Count the GPUs that a pod holds; one that no node took holds none."""
    limits = [(item.get("resources") or {}).get("limits") for item in pod["spec"]["containers"]]
    return sum(int((each or {}).get(_GPU, 0)) for each in limits) if _bound(pod) else 0


def _restarts(pod: Object) -> int:
    found = (pod.get("status") or {}).get("containerStatuses") or []
    return sum(each.get("restartCount", 0) for each in found)


def _age(pod: Object, now: datetime) -> float:
    made = datetime.fromisoformat(pod["metadata"]["creationTimestamp"])
    return max(0.0, (now - made).total_seconds())
