"""Vault has the value at another place than the settings name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.secrets_kept.conftest import World, wanting
from tests.unit.secrets_kept.stored import PATH, given
from vllm_flows import doctor_secrets
from vllm_flows.credentials import API_KEY, HF_TOKEN
from vllm_flows.doctor_findings import State
from vllm_flows.errors import ConfigurationError, TimedOutError
from vllm_flows.keeping import Keeper
from vllm_flows.secret_mode import Store, StoreState

OLD = "vllm/api-key of ClusterSecretStore vault-secret-store"


@pytest.fixture
def moved(keeper: Keeper) -> Keeper:
    """Store a key, then name another path."""
    keeper.store(API_KEY, given())
    return wanting(keeper, vault_api_key_path="team/key")


def test_it_is_set_where_the_settings_name_and_the_old_place_is_told(
    world: World, moved: Keeper, said: list[str]
):
    assert moved.store(API_KEY, given(stored=True), anew=True)
    assert world.kept["team/key"] == {"api-key": "sk-new"}
    (data,) = world.items["ExternalSecret", API_KEY.external]["spec"]["data"]
    assert data["remoteRef"]["key"] == "team/key"
    assert said == [f"{OLD} is no longer used here after this, and keeps what it has"]
    assert not moved.store(API_KEY, given(stored=True), anew=True)
    assert len(said) == 1


def test_the_old_place_is_told_also_where_nothing_comes_from_the_new_one(
    world: World, moved: Keeper, said: list[str]
):
    world.operator_works = False
    with pytest.raises(TimedOutError):
        moved.store(API_KEY, given(stored=True), anew=True)
    assert said[0].startswith(OLD)


def test_where_it_is_from_is_told_as_it_is(keeper: Keeper, moved: Keeper):
    assert moved.look(API_KEY).source.endswith(f"from {OLD}")
    assert keeper.look(API_KEY).source.endswith("from Vault's secret/vllm/api-key")


def test_it_is_deleted_nowhere_before_the_place_is_agreed_on(world: World, moved: Keeper):
    world.kept["team/key"] = {"api-key": "theirs"}
    with pytest.raises(ConfigurationError, match="another place than the settings name") as caught:
        moved.remove(API_KEY)
    assert OLD in str(caught.value)
    assert "VLLM_VAULT_API_KEY_PATH" in caught.value.next_command
    assert world.kept == {PATH: {"api-key": "sk-new"}, "team/key": {"api-key": "theirs"}}
    assert world.secret(API_KEY) == "sk-new"


def test_the_doctor_says_both_places_and_what_brings_them_together(
    moved: Keeper, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doctor_secrets, "missing_rights", lambda *_: [])
    finding, _ = doctor_secrets._secrets(moved)  # noqa: SLF001 -- what the question asks
    assert finding.state is State.WARNING
    assert f"made from {OLD}, and the settings name Vault's secret/team/key" in finding.found
    assert finding.fix.startswith("vllm-flows get-api-key | vllm-flows set-api-key --stdin")


@pytest.mark.parametrize("key", ["vllm/api-key", "secret/vllm/api-key"])
def test_who_may_not_look_at_the_store_goes_by_what_is_there(
    world: World, keeper: Keeper, key: str
):
    keeper.store(API_KEY, given())
    spec = world.items["ExternalSecret", API_KEY.external]["spec"]
    spec["data"][0]["remoteRef"]["key"] = key
    unknown = Store("vault-secret-store", StoreState.UNKNOWN)
    kept = replace(keeper.look(API_KEY), store=unknown)
    assert kept.elsewhere == ""
    other = replace(kept, settings=wanting(keeper, vault_api_key_path="team/key").settings)
    assert other.elsewhere == f"{key} of ClusterSecretStore vault-secret-store"


@pytest.mark.parametrize(
    ("store", "key"),
    [
        (Store("s", StoreState.READY, address="http://vault", path="secret"), "vllm/huggingface"),
        (Store("s", StoreState.READY, address="http://vault"), "secret/vllm/huggingface"),
        (Store("s", StoreState.UNKNOWN), "vllm/huggingface"),
    ],
)
def test_a_key_names_its_mount_where_the_store_names_none(keeper: Keeper, store: Store, key: str):
    made: Any = replace(keeper.look(HF_TOKEN), store=store).manifest
    (data,) = made["spec"]["data"]
    assert data["remoteRef"]["key"] == key


def test_one_that_somebody_changed_to_another_kind_of_reading_is_told_too(
    world: World, keeper: Keeper
):
    keeper.store(API_KEY, given())
    spec = world.items["ExternalSecret", API_KEY.external]["spec"]
    del spec["data"]
    spec["dataFrom"] = [{"extract": {"key": "vllm/api-key"}}]
    assert keeper.look(API_KEY).elsewhere.startswith("other keys of ClusterSecretStore")
