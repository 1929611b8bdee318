"""Ask the Hub about each model before anything is touched."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.running import ONCE, say, say_few, task
from vllm_flows.models import Model
from vllm_flows.observed import Verdict
from vllm_flows.planning import asking_hub
from vllm_flows.session import Session
from vllm_flows.sizes import human_bytes


@task(name="check access", task_run_name="check access", **ONCE)
def check_access(session: Session, models: Sequence[Model]) -> list[Verdict]:
    """Return the Hub's verdict on each model; a refusal is part of it, and so is silence."""
    known = session.descriptions()
    verdicts, as_before = [], []
    with asking_hub(session.hub(), models, known) as answers:
        for verdict in answers:
            verdicts.append(verdict)
            if not verdict.problems and verdict.commit in known.get(verdict.model, {}):
                as_before.append(_line(verdict))
            else:
                _tell(verdict)
    say_few(as_before, f"{len(as_before)} models at commits that are on their volumes")
    return verdicts


def _tell(verdict: Verdict) -> None:
    for problem in verdict.problems:
        say(f"{verdict.model}: {problem.what}")
    if not verdict.problems:
        say(_line(verdict))


def _line(verdict: Verdict) -> str:
    size, license_ = human_bytes(verdict.total_bytes), verdict.license or "unknown"
    return (
        f"{verdict.model}: {verdict.repository} at {verdict.commit[:8]}, {size}, license {license_}"
    )
