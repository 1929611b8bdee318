"""What people made of deployments outlives a registration, and a pool's can be served."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.actions import DeploymentUpdate

from deployments import renewing
from deployments.catalogue import deployments
from deployments.places import Place


@dataclass
class Deployments:
    """Stands for Prefect's client: deployments that are there, and what is written."""

    there: list[SimpleNamespace]
    slugs: dict[UUID, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    updates: dict[UUID, dict[str, Any]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read_deployments(self, **_: object) -> list[SimpleNamespace]:
        return self.there

    def read_deployment_by_name(self, name: str) -> SimpleNamespace:
        for one in self.there:
            if one.name == name:
                return one
        raise renewing.ObjectNotFound(Exception(name))

    def update_deployment_schedule(
        self, _deployment: UUID, schedule: UUID, *, parameters: dict[str, Any], slug: str
    ) -> None:
        self.slugs[schedule] = slug, parameters

    def update_deployment(self, deployment: UUID, wanted: DeploymentUpdate) -> None:
        self.updates[deployment] = wanted.model_dump(exclude_unset=True)


def test_schedules_without_a_slug_are_given_one_and_keep_their_parameters(
    monkeypatch: pytest.MonkeyPatch,
):
    theirs = SimpleNamespace(id=uuid4(), slug=None, parameters={"deep": True})
    ours = SimpleNamespace(id=uuid4(), slug="nightly", parameters={})
    server = Deployments([SimpleNamespace(id=uuid4(), schedules=[ours, theirs])])
    monkeypatch.setattr(renewing, "get_client", lambda **_: server)
    renewing.keep_schedules(["health"])
    assert server.slugs == {theirs.id: (f"own-{theirs.id}", {"deep": True})}


def test_what_was_a_pools_is_made_such_as_a_process_serves_and_what_is_new_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
):
    served = SimpleNamespace(id=uuid4(), name="deploy/deploy", work_pool_name=None, path=".")
    pools = SimpleNamespace(id=uuid4(), name="health/health", work_pool_name="vllm", path=None)
    server = Deployments([served, pools])
    monkeypatch.setattr(renewing, "get_client", lambda **_: server)
    renewing.leave_pools(deployments(Place("vllm")))
    wanted = {"path": ".", "work_pool_name": None, "pull_steps": None, "job_variables": {}}
    assert server.updates == {pools.id: wanted}


def test_serving_leaves_it_to_the_server_whether_a_schedule_is_active():
    schedules = [each for one in deployments(Place("vllm")) for each in one.schedules or []]
    assert schedules
    for one in schedules:
        assert "active" not in one.model_dump(exclude_unset=True)
