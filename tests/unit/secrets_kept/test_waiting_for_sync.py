"""A value is set when the Secret holds it; what keeps it is said in the store's words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.secrets_kept.conftest import World, wanting
from tests.unit.secrets_kept.stored import PATH, given, plain
from vllm_flows.credentials import API_KEY
from vllm_flows.errors import (
    SecretStoreError,
    TimedOutError,
)
from vllm_flows.external_secrets import is_synced
from vllm_flows.keeping import Keeper, raise_if_pending


def test_a_new_value_is_asked_for_at_once(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    keeper.store(API_KEY, given("sk-other"), anew=True)
    assert world.secret(API_KEY) == "sk-other"
    assert world.writes[-1] == f"annotate ExternalSecret {API_KEY.external} force-sync"


def test_an_earlier_value_that_is_set_again_is_waited_for_as_well(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    world.operator_works = world.told_failures = False
    for value in ("sk-other", "sk-new"):
        with pytest.raises(TimedOutError, match="is not synced yet"):
            keeper.store(API_KEY, given(value), anew=True)
    assert world.kept[PATH] == {"api-key": "sk-new"}


def test_what_does_not_come_from_vault_is_waited_for_and_then_told_in_the_stores_words(
    world: World, keeper: Keeper
):
    world.operator_works = False
    with pytest.raises(TimedOutError) as caught:
        keeper.store(API_KEY, given())
    assert "could not get secret data: Vault is sealed" in caught.value.what
    assert "describe externalsecret vllm-api-key-external-secret" in caught.value.next_command
    assert caught.value.exit_code == 4


def test_the_value_that_the_secret_had_before_is_not_taken_for_the_new_one(
    world: World, keeper: Keeper
):
    keeper.store(API_KEY, given())
    world.operator_works = False
    with pytest.raises(TimedOutError, match="could not get secret data: Vault is sealed"):
        keeper.store(API_KEY, given("sk-other"), anew=True)
    assert world.secret(API_KEY) == "sk-new"


def test_a_secret_that_is_yet_to_be_made_is_not_taken_for_none(world: World, keeper: Keeper):
    cluster: Any = world
    raise_if_pending(cluster, API_KEY)
    world.operator_works = False
    with pytest.raises(TimedOutError):
        keeper.store(API_KEY, given())
    for ask in (lambda: raise_if_pending(cluster, API_KEY), lambda: keeper.stored(API_KEY)):
        with pytest.raises(SecretStoreError, match="has made no Secret yet"):
            ask()


def test_a_sync_that_takes_its_usual_time_is_not_spoken_of(
    world: World, keeper: Keeper, said: list[str]
):
    world.syncs_after_looks = 4
    assert keeper.store(API_KEY, given())
    assert world.secret(API_KEY) == "sk-new"
    assert said == []


@pytest.mark.parametrize("failed", [True, False])
def test_what_keeps_a_sync_is_said_once_and_again_only_when_it_changes(
    world: World, keeper: Keeper, said: list[str], *, failed: bool
):
    world.operator_works = False
    world.told_failures = failed
    with pytest.raises(TimedOutError):
        keeper.store(API_KEY, given())
    (line,) = said
    assert line.startswith("ExternalSecret vllm-api-key-external-secret is not synced")
    assert line.endswith("(waiting up to 60 s)")
    assert ("could not get secret data" in line) is failed


def test_a_plain_secret_of_the_same_value_is_not_taken_for_one_that_vault_makes(
    world: World, keeper: Keeper
):
    plain(world, "sk-new")
    world.operator_works = False
    with pytest.raises(TimedOutError):
        wanting(keeper, secrets="vault").store(API_KEY, given())


def test_one_that_is_being_deleted_makes_no_secret_any_more(world: World, keeper: Keeper):
    cluster: Any = world
    keeper.store(API_KEY, given())
    del world.items["Secret", API_KEY.secret]
    metadata = world.items["ExternalSecret", API_KEY.external]["metadata"]
    metadata["deletionTimestamp"] = "2026-06-01T10:00:00Z"
    raise_if_pending(cluster, API_KEY)


def test_a_value_that_was_there_already_is_no_sign_that_the_new_place_can_be_read(
    world: World, keeper: Keeper
):
    keeper.store(API_KEY, given())
    moved = wanting(keeper, vault_api_key_path="other/api-key")
    world.operator_works = False
    for _ in range(2):
        with pytest.raises(TimedOutError, match="could not get secret data"):
            moved.store(API_KEY, given(stored=True), anew=True)
    world.operator_works = True
    assert moved.store(API_KEY, given(stored=True), anew=True)
    assert not moved.store(API_KEY, given(stored=True), anew=True)


def test_what_failed_before_is_not_said_of_a_sync_that_takes_its_usual_time(
    world: World, keeper: Keeper, said: list[str]
):
    world.operator_works = False
    with pytest.raises(TimedOutError):
        keeper.store(API_KEY, given())
    said.clear()
    world.operator_works = True
    world.syncs_after_looks = 4
    assert keeper.store(API_KEY, given("sk-other"), anew=True)
    assert said == []


def test_an_operator_that_sleeps_is_not_taken_for_one_that_synced(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    moved = wanting(keeper, vault_api_key_path="other/api-key")
    world.operator_works = world.told_failures = False
    for _ in range(2):
        with pytest.raises(TimedOutError, match="is not synced yet"):
            moved.store(API_KEY, given(stored=True), anew=True)


def test_what_somebody_else_writes_meanwhile_is_told_as_that(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    kept = keeper.look(API_KEY)
    world.kept["vllm/api-key"]["api-key"] = "theirs"
    with pytest.raises(TimedOutError, match="synced, with another value") as caught:
        keeper.attach(kept, "sk-mine")
    assert "somebody else wrote there" in caught.value.why


@pytest.mark.parametrize(
    ("status", "synced"),
    [
        ({"conditions": [{"type": "Ready", "status": "True"}], "syncedResourceVersion": "2-b"}, 1),
        ({"conditions": [{"type": "Ready", "status": "True"}], "syncedResourceVersion": "2-a"}, 0),
        ({"conditions": [{"type": "Ready", "status": "True"}], "syncedResourceVersion": "1-b"}, 0),
        ({"conditions": [{"type": "Ready", "status": "False"}], "syncedResourceVersion": "2-b"}, 0),
        ({}, 0),
    ],
)
def test_a_sync_counts_with_the_spec_of_now_and_after_the_one_before(status: Any, synced: int):
    external = {"metadata": {"name": "x", "generation": 2}, "status": status}
    assert is_synced(external, "2-a") is bool(synced)
    assert not is_synced(None)
