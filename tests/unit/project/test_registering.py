"""What is registered on a Prefect server is what prefect.yaml says, for the pool asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Self

import pytest

from deployments import registering, renewing
from deployments.catalogue import PREFECT_FILE, deployments
from vllm_flows.errors import ConfigurationError


def test_every_deployment_is_registered_for_the_pool_of_the_file():
    found = registering.catalogue(Path("/work"))
    assert [one["name"] for one in found["deployments"]] == [one.name for one in deployments()]
    assert registering.pools_of(found) == ["vllm"]
    assert found["pull"]
    assert PREFECT_FILE.name == "prefect.yaml"


def test_another_pool_and_the_options_before_the_verb_reach_every_deployment():
    found = registering.catalogue(Path("/work"), "mine", {"VLLM_NAMESPACE": "other"})
    assert registering.pools_of(found) == ["mine"]
    for one in found["deployments"]:
        environ = one["work_pool"]["job_variables"]["env"]
        assert (environ["VLLM_NAMESPACE"], environ["DO_NOT_TRACK"]) == ("other", "1")


class Pools:
    """Stands for Prefect's client: a pool of that name is there or not."""

    def __init__(self, *there: str) -> None:
        self.there = list(there)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read_work_pool(self, name: str) -> None:
        if name not in self.there:
            raise registering.ObjectNotFound(Exception())

    def read_deployments(self, **_: object) -> list[object]:
        return []

    def create_work_pool(self, pool: registering.WorkPoolCreate) -> None:
        assert pool.type == "process"
        self.there.append(pool.name)


def test_a_pool_that_is_missing_is_made_once_and_prefect_hears_where_runs_begin(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    pools = Pools()
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho "$*" >> "$0.log"\ncat "$8" >> "$0.log"\n')
    program.chmod(0o755)
    for module in (registering, renewing):
        monkeypatch.setattr(module, "get_client", lambda **_: pools)
    monkeypatch.setattr(sys, "executable", str(program))
    found = registering.catalogue(Path("/work"))
    assert registering.register(found) == ["vllm"]
    assert registering.register(found) == []
    asked = Path(f"{program}.log").read_text()
    assert asked.startswith("-P -m prefect --no-prompt deploy --all --prefect-file ")
    assert "flows.rollback.rollback" in asked
    assert "directory: /work" in asked


def test_what_prefect_says_when_it_refuses_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no such flow\nexit 1\n")
    program.chmod(0o755)
    for module in (registering, renewing):
        monkeypatch.setattr(module, "get_client", lambda **_: Pools("vllm"))
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ConfigurationError) as refused:
        registering.register(registering.catalogue(tmp_path))
    assert "no such flow" in refused.value.why
