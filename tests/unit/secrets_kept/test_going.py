"""A deletion that was interrupted: the secret is still there, and is not to be relied on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.secrets_kept.conftest import World
from tests.unit.secrets_kept.stored import given
from vllm_flows import doctor_secrets
from vllm_flows.credentials import API_KEY, PLACES
from vllm_flows.doctor_findings import State
from vllm_flows.external_secrets import KIND
from vllm_flows.going_secret import notes_of_going
from vllm_flows.keeping import Keeper


def begun(world: World, keeper: Keeper, *finalizers: str) -> Any:
    """Let a deletion begin that does not end; return the cluster."""
    keeper.store(API_KEY, given())
    metadata = world.items[KIND, API_KEY.external]["metadata"]
    metadata |= {"deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": [*finalizers]}
    return keeper.cluster


def test_a_plan_says_that_a_key_will_not_stay_and_what_ends_that(world: World, keeper: Keeper):
    (said,) = notes_of_going(begun(world, keeper, "foregroundDeletion"), PLACES)
    assert "Secret vllm-api-key goes with it: there will be no API key" in said
    assert "next: vllm-flows delete-api-key" in said


def test_the_doctor_says_so_too(world: World, keeper: Keeper, monkeypatch: pytest.MonkeyPatch):
    begun(world, keeper)
    monkeypatch.setattr(doctor_secrets, "missing_rights", lambda *_: [])
    finding = doctor_secrets._secrets(keeper)[0]  # noqa: SLF001 -- what the question asks
    assert finding.state is State.PROBLEM
    assert "ExternalSecret vllm-api-key-external-secret is being deleted" in finding.found
    assert finding.fix.startswith("vllm-flows delete-api-key")


def test_a_secret_that_is_left_behind_on_purpose_stays(world: World, keeper: Keeper):
    assert notes_of_going(begun(world, keeper, "orphan"), PLACES) == ()


def test_of_a_secret_that_nobody_deletes_nothing_is_said(keeper: Keeper):
    keeper.store(API_KEY, given())
    assert notes_of_going(keeper.cluster, PLACES) == ()
