"""The deployments of `prefect.yaml`, for one process without a work pool.

`prefect.yaml` is the one list: names, entrypoints, parameters, schedules and tags are read from it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentTriggerTypes
from prefect.flows import load_flow_from_entrypoint
from prefect.schedules import Cron, Interval, RRule, Schedule
from pydantic import TypeAdapter

from vllm_flows.settings import load_settings

_INSTALLED = Path(__file__).with_name("prefect.yaml")
PREFECT_FILE = _INSTALLED if _INSTALLED.exists() else Path(__file__).parents[1] / "prefect.yaml"
"""At the root of a clone; in an installed package beside this module."""
_TRIGGER: TypeAdapter[DeploymentTriggerTypes] = TypeAdapter(DeploymentTriggerTypes)
_DEFAULT_ZONE = "UTC"
_SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "cron": Cron,
    "interval": Interval,
    "rrule": RRule,
}


def deployments() -> list[RunnerDeployment]:
    """Return every deployment of prefect.yaml, ready to be served."""
    return [_deployment(entry) for entry in read()["deployments"]]


def read() -> dict[str, Any]:
    """Return what prefect.yaml says, its schedules in the time zone of the settings.

    Raises ConfigurationError for settings that are wrong.
    """
    document: dict[str, Any] = yaml.safe_load(PREFECT_FILE.read_text())
    zone = load_settings().timezone
    for entry in document["deployments"]:
        for schedule in entry.get("schedules") or []:
            # An interval has no hour of the day, and an explicit other zone its reason.
            if schedule.get("timezone") == _DEFAULT_ZONE:
                schedule["timezone"] = zone
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
    return made


def _schedule(entry: dict[str, Any]) -> Schedule:
    """Return a schedule of prefect.yaml; one of cron, interval (seconds) and rrule says when."""
    (when,) = _SCHEDULES.keys() & entry.keys()
    return _SCHEDULES[when](entry[when], **{key: entry[key] for key in entry if key != when})
