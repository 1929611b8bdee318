"""Registering the deployments of `prefect.yaml` on a Prefect server, for workers of a work pool."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from deployments.catalogue import read
from deployments.places import Place
from deployments.renewing import keep_schedules
from vllm_flows.environments import environment_for_prefect
from vllm_flows.errors import ConfigurationError

_SECONDS = 300
_LAST_LINES = 12


def catalogue(
    directory: Path,
    pool: str | None = None,
    environ: Mapping[str, str] | None = None,
    place: Place | None = None,
) -> dict[str, Any]:
    """Return what prefect.yaml says, with another work pool and more variables for its runs.

    They begin in `directory` on the worker.
    """
    document = read(place, str(directory))
    document.pop("definitions", None)
    for entry in document["deployments"]:
        there = entry["work_pool"]
        variables = there.get("job_variables") or {}
        more = {**(variables.get("env") or {}), **(environ or {})}
        # A new mapping for each: in the file they share one.
        entry["work_pool"] = {
            **there,
            "name": pool or there["name"],
            "job_variables": {**variables, "env": more},
        }
    return document


def pools_of(document: Mapping[str, Any]) -> list[str]:
    """Return the names of the work pools that the deployments are for."""
    return sorted({entry["work_pool"]["name"] for entry in document["deployments"]})


def register(document: Mapping[str, Any]) -> list[str]:
    """Make the work pools that are missing, then make or update the deployments.

    Schedules that people made stay. Returns the names of the pools that were made. Raises
    ConfigurationError with Prefect's own words when it refuses.
    """
    with get_client(sync_client=True) as client:
        made = [name for name in pools_of(document) if _made(client, name)]
    keep_schedules([entry["name"] for entry in document["deployments"]])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(dict(document), sort_keys=False))
        _deploy_all(file)
    return made


def _made(client: SyncPrefectClient, name: str) -> bool:
    """Make the work pool, of workers that start processes, unless there is one of that name."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(name=name, type="process", base_job_template=template)
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:  # somebody was quicker
            return False
        return True
    return False


def _deploy_all(file: Path) -> None:
    command = ["--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "prefect", *command],
        # In a folder of its own: it reads what lies in the working directory.
        cwd=file.parent,
        env=environment_for_prefect(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()
        raise ConfigurationError(
            "Prefect did not take the deployments",
            why="\n".join(lines[-_LAST_LINES:]),
            next_command="prefect version; prefect config view",
        )
