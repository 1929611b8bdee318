"""What autoscalers say of a pod that waits for room, from its events. Pure.

Events of the cluster autoscaler: kubernetes/autoscaler cluster-autoscaler/FAQ.md, "What events are
emitted by CA?". Of Karpenter: kubernetes-sigs/karpenter pkg/events/reason.go and
pkg/controllers/provisioning/scheduling/events.go.
"""

from __future__ import annotations

from collections.abc import Iterable

from vllm_flows.diagnosis_categories import Object

_MAKES_ROOM = {"TriggeredScaleUp", "Nominated"}
_HAS_NO_WAY = "NotTriggerScaleUp"
_KARPENTER_HAS_NO_WAY = "FailedScheduling"
"""The reason of the scheduler's own events, too; who reports it tells them apart."""


def makes_room(events: Iterable[Object]) -> bool:
    """Say whether an autoscaler's last word about the pod is that a node comes for it."""
    last = max(filter(_is_an_autoscalers, events), key=_moment, default=None)
    return last is not None and last["reason"] in _MAKES_ROOM


def _is_an_autoscalers(event: Object) -> bool:
    reason = event.get("reason")
    if reason == _KARPENTER_HAS_NO_WAY:
        source = (event.get("source") or {}).get("component")
        return "karpenter" in {source, event.get("reportingComponent")}
    return reason in _MAKES_ROOM or reason == _HAS_NO_WAY


def _moment(event: Object) -> str:
    """Return when an event was last seen, as the API writes moments."""
    series = event.get("series") or {}
    seen = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(seen or "")
