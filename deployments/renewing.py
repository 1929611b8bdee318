"""What becomes of deployments that are there when they are registered again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound

from deployments.places import TAG


def keep_schedules(names: Sequence[str]) -> None:
    """Let the schedules that people made for deployments of these names outlive a registration.

    Those of prefect.yaml have slugs, and the UI gives none. While each schedule has one, Prefect
    updates those that it is given and leaves the others; else it deletes all that are there.
    """
    wanted = {"name": {"any_": list(names)}, "tags": {"all_": [TAG]}}
    ours = DeploymentFilter.model_validate(wanted)
    with get_client(sync_client=True) as client:
        for there in client.read_deployments(deployment_filter=ours):
            for one in there.schedules:
                if not one.slug:
                    # Without its parameters the server would empty them.
                    client.update_deployment_schedule(
                        there.id, one.id, parameters=one.parameters, slug=f"own-{one.id}"
                    )


def leave_pools(wanted: Sequence[RunnerDeployment]) -> None:
    """Make the deployments that are there, and were a work pool's, such as a process serves.

    They keep their ids. Serving alone sends neither the path nor that there is no pool: workers
    would go on to take the runs, or each would end for want of its code.
    """
    with get_client(sync_client=True) as client:
        for one in wanted:
            with suppress(ObjectNotFound):
                there = client.read_deployment_by_name(one.full_name)
                if there.work_pool_name or there.path != _path(one):
                    client.update_deployment(there.id, _served(_path(one)))


def _served(path: str | None) -> DeploymentUpdate:
    return DeploymentUpdate(path=path, work_pool_name=None, pull_steps=None, job_variables={})


def _path(one: RunnerDeployment) -> str | None:
    return one._path  # noqa: SLF001 -- Prefect offers no other way to it
