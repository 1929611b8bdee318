"""The Helm release: brought to the values, or removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect import task

from tasks.running import ONCE, say
from vllm_flows.chart import Chart
from vllm_flows.errors import ReleaseError
from vllm_flows.names import RELEASE
from vllm_flows.observed import ReleaseState
from vllm_flows.session import Session

_LIMIT_SECONDS = 900


@task(name="helm upgrade", task_run_name="helm upgrade", timeout_seconds=_LIMIT_SECONDS, **ONCE)
def apply_release(session: Session, chart: Chart, values: Mapping[str, Any], reason: str) -> int:
    """Install or upgrade the release; return its new revision. Nothing is waited for."""
    say(f"helm upgrade: {reason}")
    revision = session.helm.upgrade(chart, values)
    say(f"release revision {revision} (chart {chart.version})")
    return revision


@task(name="helm uninstall", task_run_name="helm uninstall", timeout_seconds=_LIMIT_SECONDS, **ONCE)
def remove_release(session: Session) -> bool:
    """Remove the release if there is one; return whether there was.

    Raises ReleaseError for a release that is not ours: with it would go what belongs to it.
    """
    if session.helm.release().state is ReleaseState.UNMANAGED:
        raise ReleaseError(
            "the release was not made by vllm-flows",
            next_command=f"helm -n {session.settings.namespace} uninstall {RELEASE}",
        )
    found = session.helm.uninstall()
    say("release removed" if found else "there was no release")
    return found
