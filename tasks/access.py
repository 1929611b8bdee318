"""Ask the Hub about each model before anything is touched."""

from __future__ import annotations

from prefect import task

from tasks.running import ONCE, say
from vllm_flows.hub import Hub
from vllm_flows.models import Model
from vllm_flows.observed import Verdict
from vllm_flows.planning import ask_hub
from vllm_flows.sizes import human_bytes


@task(task_run_name="check access {model.name}", **ONCE)
def check_access(hub: Hub, model: Model) -> Verdict:
    """Return the Hub's verdict on the model; a refusal is part of it, and so is silence."""
    verdict = ask_hub(hub, model)
    for problem in verdict.problems:
        say(f"{model.name}: {problem.what}")
    if not verdict.problems:
        say(
            f"{model.name}: {model.model_url} at {verdict.commit[:8]}, "
            f"{human_bytes(verdict.total_bytes)}, license {verdict.license or 'unknown'}"
        )
    return verdict
