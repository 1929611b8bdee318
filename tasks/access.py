"""Ask the Hub about each model before anything is touched."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task

from tasks.running import ONCE, say
from vllm_flows.models import Model
from vllm_flows.observed import Verdict
from vllm_flows.planning import asking_hub
from vllm_flows.session import Session
from vllm_flows.sizes import human_bytes


@task(name="check access", task_run_name="check access", **ONCE)
def check_access(session: Session, models: Sequence[Model]) -> list[Verdict]:
    """Return the Hub's verdict on each model; a refusal is part of it, and so is silence."""
    with asking_hub(session.hub(), models, session.descriptions()) as answers:
        verdicts = []
        for verdict in answers:
            _tell(verdict)
            verdicts.append(verdict)
    return verdicts


def _tell(verdict: Verdict) -> None:
    for problem in verdict.problems:
        say(f"{verdict.model}: {problem.what}")
    if not verdict.problems:
        size, license_ = human_bytes(verdict.total_bytes), verdict.license or "unknown"
        say(
            f"{verdict.model}: {verdict.repository} at {verdict.commit[:8]}, {size}, "
            f"license {license_}"
        )
