"""How a rollout is held while old and new pods are there. Pure.

New pods count as available only after `minReadySeconds`, and until then no old one ends. (That of
a paused Deployment does, once the new ones are available.) Tried with Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]

_DEFAULT_DEADLINE = 600


def held(deployment: Object) -> dict[str, Any]:
    """Return the fields that hold a rollout, for as long as the API lets them."""
    return {"spec": {"minReadySeconds": _longest_hold(deployment)}}


RELEASED: Object = {"spec": {"minReadySeconds": None}}
"""The fields that let a rollout go on; the chart (0.1.8 to 0.1.12) sets none of them."""


def paused(deployment: Object, pods: int) -> dict[str, Any]:
    """Return the fields that keep a Deployment from making pods, and from ending its `pods`.

    While pods of several templates are there, a paused one is still scaled: to its replicas and
    the surge (kubernetes pkg/controller/deployment/sync.go, `scale`), which may be of another
    change than these pods. A surge of none is refused where no pod may be unavailable.
    """
    surge = max(1, pods - deployment["spec"].get("replicas", 1))
    limits = {"maxSurge": surge, "maxUnavailable": 0}
    return {"spec": {"paused": True, "strategy": {"rollingUpdate": limits}}}


RESUMED: Object = {"spec": {"paused": None}}
"""The fields that let it. Helm leaves what its manifest does not have, and the chart sets none."""


def resumed(strategy: Object | None) -> dict[str, Any]:
    """Return the fields that undo `paused`, where helm did not yet: with the `strategy` before."""
    return {"spec": {**RESUMED["spec"], **({"strategy": strategy} if strategy else {})}}


def is_set_aside(deployment: Object) -> bool:
    """Say whether a Deployment is paused as we do it: its rollout is held as well."""
    return bool(deployment["spec"].get("paused")) and is_held(deployment)


def is_held(deployment: Object) -> bool:
    """Say whether a rollout is held as we do it, maybe by a run that was killed."""
    seconds = deployment["spec"].get("minReadySeconds") or 0
    return bool(seconds == _longest_hold(deployment))


def has_older(deployment: Object) -> bool:
    """Say whether a Deployment has pods of before."""
    status = deployment.get("status") or {}
    return bool(status.get("replicas", 0) > status.get("updatedReplicas", 0))


def _longest_hold(deployment: Object) -> int:
    """Return the largest `minReadySeconds`: it has to be less than the progress deadline."""
    deadline = deployment["spec"].get("progressDeadlineSeconds") or _DEFAULT_DEADLINE
    return int(deadline) - 1
