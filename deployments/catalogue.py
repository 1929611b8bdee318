"""The deployments of `prefect.yaml`, for one process without a work pool.

`prefect.yaml` is the one list: names, entrypoints, parameters, schedules and tags are read from it.
What is `{{ here.… }}` in it follows from the namespace that the deployments are for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import yaml
from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentTriggerTypes
from prefect.flows import load_flow_from_entrypoint
from prefect.schedules import Cron, Interval, RRule, Schedule
from prefect.utilities.templating import apply_values
from pydantic import TypeAdapter

from deployments.places import Place
from vllm_flows.settings import load_settings

_INSTALLED = Path(__file__).with_name("prefect.yaml")
PREFECT_FILE = _INSTALLED if _INSTALLED.exists() else Path(__file__).parents[1] / "prefect.yaml"
"""At the root of a clone; in an installed package beside this module."""
_TRIGGER: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)
_SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "cron": Cron,
    "interval": Interval,
    "rrule": RRule,
}


def deployments(place: Place | None = None) -> list[RunnerDeployment]:
    """Return every deployment of prefect.yaml, ready to be served."""
    return [_deployment(entry) for entry in read(place)["deployments"]]


def pool_of_the_file() -> str:
    """Return the work pool that prefect.yaml names."""
    return str(_document()["definitions"]["pool"]["name"])


def read(place: Place | None = None, directory: str = "") -> dict[str, Any]:
    """Return what prefect.yaml says for a place; without one, for the settings' namespace.

    Runs of workers begin in `directory`. Raises ConfigurationError for settings that are wrong.
    """
    place = place or Place(load_settings().namespace)
    here = {"here": outputs(place, directory)}
    document = cast("dict[str, Any]", apply_values(_document(), here, remove_notset=False))
    del document["build"]
    for entry in document["deployments"]:
        entry["name"] += place.suffix
    return document


def outputs(place: Place, directory: str) -> dict[str, Any]:
    """Return what stands in place of `{{ here.… }}`."""
    return {
        "directory": directory,
        "namespace": place.namespace,
        "tags": place.tags,
        "timezone": load_settings().timezone,
    }


def _document() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(PREFECT_FILE.read_text())
    return document


def _deployment(entry: dict[str, Any]) -> RunnerDeployment:
    flow: Flow[..., Any] = load_flow_from_entrypoint(entry["entrypoint"])
    made = flow.to_deployment(
        name=entry["name"],
        description=entry.get("description"),
        parameters=entry.get("parameters"),
        tags=entry.get("tags"),
        schedules=[_schedule(one) for one in entry.get("schedules") or []],
        triggers=[_TRIGGER.validate_python(one) for one in entry.get("triggers") or []],
        concurrency_limit=(entry.get("concurrency_limit") or {}).get("limit"),
    )
    if not isinstance(made, RunnerDeployment):  # a coroutine, were this called from async code
        raise TypeError(made)
    if not made.schedules:
        # What is set is sent: an empty list would delete the schedules that were made in the UI.
        made.model_fields_set.discard("schedules")
    for each in made.schedules or []:
        # Likewise: one that was paused in the UI stays so.
        each.model_fields_set.discard("active")
    return made


def _schedule(entry: dict[str, Any]) -> Schedule:
    """Return a schedule of prefect.yaml; one of cron, interval (seconds) and rrule says when."""
    (when,) = _SCHEDULES.keys() & entry.keys()
    return _SCHEDULES[when](entry[when], **{key: entry[key] for key in entry if key != when})
