"""The deployments of `prefect.yaml`, for one process without a work pool.

`prefect.yaml` is the one list: names, entrypoints, parameters and tags are read from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import load_flow_from_entrypoint

PREFECT_FILE = Path(__file__).parent.parent / "prefect.yaml"


def deployments() -> list[RunnerDeployment]:
    """Return every deployment of prefect.yaml, ready to be served."""
    document = yaml.safe_load(PREFECT_FILE.read_text())
    return [_deployment(entry) for entry in document["deployments"]]


def _deployment(entry: dict[str, Any]) -> RunnerDeployment:
    flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    made = flow.to_deployment(
        name=entry["name"],
        description=entry.get("description"),
        parameters=entry.get("parameters"),
        tags=entry.get("tags"),
        concurrency_limit=(entry.get("concurrency_limit") or {}).get("limit"),
    )
    if not isinstance(made, RunnerDeployment):  # a coroutine, were this called from async code
        raise TypeError(made)
    return made
