"""What may be done to a release, from the state that it was found in. Pure; one table decides."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from vllm_flows.errors import ReleaseError
from vllm_flows.names import RELEASE
from vllm_flows.observed import Release, ReleaseState

_NEW_SELECTORS_SINCE = (0, 1, 10)
"""From this chart version on Deployments select other labels, which Kubernetes cannot change."""


class ReleaseAction(StrEnum):
    """What happens to the Helm release."""

    INSTALL = "install"
    UPGRADE = "upgrade"
    REFUSE = "refuse"


RELEASE_ACTIONS: Mapping[ReleaseState, ReleaseAction] = {
    ReleaseState.ABSENT: ReleaseAction.INSTALL,
    ReleaseState.DEPLOYED: ReleaseAction.UPGRADE,
    ReleaseState.FAILED: ReleaseAction.UPGRADE,
    ReleaseState.PENDING: ReleaseAction.REFUSE,
    ReleaseState.UNMANAGED: ReleaseAction.REFUSE,
}


def check_release(release: Release, chart_version: str) -> None:
    """Refuse a release that somebody else works on or made, or that cannot be upgraded."""
    if RELEASE_ACTIONS[release.state] is ReleaseAction.REFUSE:
        raise _refused(release)
    served = release.state in {ReleaseState.DEPLOYED, ReleaseState.FAILED}
    if served and _selectors(release.chart_version) != _selectors(chart_version):
        raise ReleaseError(
            f"chart {release.chart_version} cannot be upgraded to {chart_version} in place",
            why="the chart's Deployments select other pods since 0.1.10, and Kubernetes does not "
            "change the selector of a Deployment",
            next_command=f"stay with chart {release.chart_version}; or vllm-flows uninstall, then "
            "set-hf-token and set-api-key where used, then this again (weights are kept)",
        )


def _refused(release: Release) -> ReleaseError:
    if release.state is ReleaseState.UNMANAGED:
        return ReleaseError(
            f"the release {RELEASE!r} was not made by vllm-flows",
            why="taking it over would delete volume claims that belong to it",
            next_command=f"helm -n {release.namespace} uninstall {RELEASE}   (or use another "
            "namespace)",
        )
    undo = "uninstall" if release.revision <= 1 else "rollback"
    return ReleaseError(
        f"the release is {release.status}",
        why="another helm is at work on it, or one was killed there",
        next_command=f"wait for it; if none runs: helm -n {release.namespace} {undo} {RELEASE}",
    )


def _selectors(version: str) -> bool:
    numbers = tuple(int(part) for part in version.partition("-")[0].split(".") if part.isdigit())
    return numbers >= _NEW_SELECTORS_SINCE
