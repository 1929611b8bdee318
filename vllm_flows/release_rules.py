"""What may be done to a release, from the state that it was found in. Pure; one table decides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from vllm_flows.chart import CHART_NAME
from vllm_flows.errors import ReleaseError
from vllm_flows.names import RELEASE
from vllm_flows.observed import DIGEST_ANNOTATION, Release, ReleaseState

LONGEST_HELM_SECONDS = 600
"""A helm of ours is ended after this time; one that a person runs is believed to be, too."""


class ReleaseAction(StrEnum):
    """What happens to the Helm release.

    UNLOCK takes the unfinished revision out of Helm's history, and then is an UPGRADE; FINISH
    brings an interrupted removal to its end, and then is an INSTALL.
    """

    INSTALL = "install"
    UPGRADE = "upgrade"
    UNLOCK = "unlock"
    FINISH = "finish"
    REFUSE = "refuse"


RELEASE_ACTIONS: Mapping[ReleaseState, ReleaseAction] = {
    ReleaseState.ABSENT: ReleaseAction.INSTALL,
    ReleaseState.DEPLOYED: ReleaseAction.UPGRADE,
    ReleaseState.FAILED: ReleaseAction.UPGRADE,
    ReleaseState.PENDING_INSTALL: ReleaseAction.UNLOCK,
    ReleaseState.PENDING_UPGRADE: ReleaseAction.UNLOCK,
    ReleaseState.PENDING_ROLLBACK: ReleaseAction.UNLOCK,
    ReleaseState.UNINSTALLING: ReleaseAction.FINISH,
    ReleaseState.UNMANAGED: ReleaseAction.REFUSE,
}
_BY_STATUS: Mapping[str, ReleaseState] = {
    "deployed": ReleaseState.DEPLOYED,
    "pending-install": ReleaseState.PENDING_INSTALL,
    "pending-upgrade": ReleaseState.PENDING_UPGRADE,
    "pending-rollback": ReleaseState.PENDING_ROLLBACK,
    "uninstalling": ReleaseState.UNINSTALLING,
    "uninstalled": ReleaseState.ABSENT,
}


def release_from(
    latest: Mapping[str, Any], values: Mapping[str, Any], finished: Mapping[str, Any] | None = None
) -> Release:
    """Name the state of a release from the newest row of its history.

    `finished` is the newest row that helm finished, when that is another; `values` are its.
    """
    finished = finished or latest
    name, _, version = str(finished["chart"]).rpartition("-")
    status = str(latest["status"])
    return Release(
        state=_state(name, status, values),
        revision=int(latest["revision"]),
        chart_version=version,
        status=status,
        values=values,
        updated=_seconds(str(latest.get("updated", ""))),
        finished=int(finished["revision"]),
    )


def _state(chart: str, status: str, values: Mapping[str, Any]) -> ReleaseState:
    entries = (values.get("servingEngineSpec") or {}).get("modelSpec") or []
    ours = all(DIGEST_ANNOTATION in (entry.get("podAnnotations") or {}) for entry in entries)
    if chart != CHART_NAME or not (entries and ours):
        return ReleaseState.UNMANAGED
    return _BY_STATUS.get(status, ReleaseState.FAILED)


def _seconds(updated: str) -> float:
    """Read helm's time, `2026-11-25T09:30:00.123456789Z` with up to nine digits; 0 for none."""
    try:
        return datetime.fromisoformat(updated).timestamp()
    except ValueError:
        return 0.0


def wait_before_unlock(release: Release, now: float, *, ours: bool, busy: bool) -> float:
    """Return the seconds to wait until whoever left the release unfinished is surely gone.

    `ours`: it was a run of this product on this machine, and that run has ended; `busy`: the helm
    that it had started has not. A helm of somebody else's is given its longest time. 0: act now.
    """
    if busy:
        return 1.0
    if ours:
        return 0.0
    return max(0.0, release.updated + LONGEST_HELM_SECONDS - now)


def check_release(release: Release) -> None:
    """Refuse a release that somebody else made."""
    if RELEASE_ACTIONS[release.state] is ReleaseAction.REFUSE:
        raise ReleaseError(
            f"the release {RELEASE!r} was not made by vllm-flows",
            why="taking it over would delete volume claims that belong to it",
            next_command=f"helm -n {release.namespace} uninstall {RELEASE}   (or use another "
            "namespace)",
        )


def chart_changes(release: Release, chart_version: str) -> bool:
    """Say whether a release that is upgraded gets a chart of another version."""
    upgraded = {ReleaseAction.UPGRADE, ReleaseAction.UNLOCK}
    return RELEASE_ACTIONS[release.state] in upgraded and release.chart_version != chart_version
