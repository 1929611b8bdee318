"""The build step of `prefect.yaml`, by which `prefect deploy` itself knows whom it deploys for."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from deployments.catalogue import outputs, read
from deployments.places import claim, insist_on_own_pool, place_of, read_server, settled
from deployments.renewing import keep_schedules
from vllm_flows.errors import ConfigurationError, VllmFlowsError
from vllm_flows.settings import load_settings

DIRECTORY = "VLLM_FLOWS_DIR"
"""Names the folder where workers run the flows: models.yaml and .env are looked for there."""


@cache
def here(pool: str) -> dict[str, Any]:
    """Return what stands in place of `{{ here.… }}` in prefect.yaml.

    Ends the process with the reason and the next command when VLLM_FLOWS_DIR is not set, or when
    names or work pool are another namespace's.
    """
    try:
        return _here(pool, os.environ.get(DIRECTORY, ""))
    except VllmFlowsError as error:
        # Whatever else a step raises, Prefect hides in a traceback.
        raise SystemExit(str(error)) from None


def _here(pool: str, directory: str) -> dict[str, Any]:
    if not directory:
        raise ConfigurationError(
            f"{DIRECTORY} is not set",
            why="workers run the flows in that folder: models.yaml and .env are there",
            next_command=f"export {DIRECTORY}=$PWD   (or the folder's path on the worker)",
        )
    there = read_server()
    place = settled(place_of(load_settings()), there)
    if place.suffix:
        raise ConfigurationError(
            f"the names of prefect.yaml are another namespace's here, not {place.namespace}'s",
            next_command=f"vllm-flows deploy-flows --work-pool {pool}{place.suffix}",
        )
    insist_on_own_pool(place, pool, there)
    claim(place)
    keep_schedules([entry["name"] for entry in read(place)["deployments"]])
    return outputs(place, directory)
