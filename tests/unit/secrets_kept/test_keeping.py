"""Secrets set, found and deleted, wherever they are kept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.secrets_kept.conftest import KilledError, World, wanting
from tests.unit.secrets_kept.stored import PATH, given, plain
from vllm_flows import syncing
from vllm_flows.cluster import Cluster
from vllm_flows.credentials import API_KEY
from vllm_flows.errors import (
    LockLostError,
    NoRightError,
    NoSecretError,
    SecretStoreError,
    VaultUnavailableError,
)
from vllm_flows.keeping import Keeper
from vllm_flows.secret_mode import Maker, StoreState


def test_where_the_store_is_ready_a_value_goes_to_vault_and_comes_back_as_the_secret(
    world: World, keeper: Keeper
):
    assert keeper.store(API_KEY, given())
    assert world.kept == {PATH: {"api-key": "sk-new"}}
    assert world.secret(API_KEY) == "sk-new"
    assert (
        "made by ExternalSecret vllm-api-key-external-secret from Vault's secret/vllm/api-key"
        in (keeper.look(API_KEY).source)
    )


def test_a_run_with_the_value_that_is_stored_needs_no_vault(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    world.sealed = True
    assert not keeper.store(API_KEY, given(stored=True))
    assert not wanting(keeper, secrets="vault").store(API_KEY, given(stored=True))


def test_a_value_that_is_set_anew_is_compared_with_vault(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    assert not keeper.store(API_KEY, given(stored=True), anew=True)
    world.kept[PATH]["api-key"] = "changed in Vault itself"
    assert keeper.store(API_KEY, given(stored=True), anew=True)
    assert world.kept[PATH]["api-key"] == "sk-new"


@pytest.mark.parametrize("change", [{"served": ""}, {"store_ready": False}])
def test_elsewhere_a_plain_secret_does(world: World, keeper: Keeper, change: dict[str, Any]):
    for name, value in change.items():
        setattr(world, name, value)
    assert keeper.store(API_KEY, given())
    assert (world.secret(API_KEY), world.kept) == ("sk-new", {})
    assert keeper.look(API_KEY).source == "Secret vllm-api-key"


def test_a_plain_secret_stays_one_until_somebody_asks(world: World, keeper: Keeper):
    plain(world)
    assert keeper.store(API_KEY, given())
    assert (world.secret(API_KEY), world.kept) == ("sk-new", {})
    assert wanting(keeper, secrets="vault").store(API_KEY, given("sk-3"))
    assert (world.secret(API_KEY), world.kept) == ("sk-3", {PATH: {"api-key": "sk-3"}})


def test_nothing_is_written_to_vault_while_the_store_is_not_ready(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    world.store_ready = False
    with pytest.raises(SecretStoreError, match="said by the store"):
        keeper.store(API_KEY, given("sk-other"))
    assert world.kept[PATH]["api-key"] == "sk-new"


@pytest.mark.parametrize("served", ["v1", ""])
def test_what_is_deleted_is_gone_from_the_cluster_and_from_vault(
    world: World, keeper: Keeper, served: str
):
    world.served = served
    world.kept[PATH] = {"other": "theirs"}
    keeper.store(API_KEY, given())
    assert keeper.removable(API_KEY)
    assert keeper.remove(API_KEY)
    assert world.secret(API_KEY) is None
    assert world.kept == {PATH: {"other": "theirs"}}
    assert keeper.removable(API_KEY) is None
    with pytest.raises(NoSecretError):
        keeper.stored(API_KEY)


def test_a_deletion_tells_what_vault_had_lost_already(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    world.kept[PATH].clear()
    assert not keeper.remove(API_KEY)
    assert not keeper.remove(API_KEY)
    assert world.secret(API_KEY) is None


def test_a_deletion_that_was_killed_anywhere_is_ended_by_the_next(world: World, keeper: Keeper):
    for killed_after in range(3):
        keeper.store(API_KEY, given())
        world.writes_left = killed_after
        with pytest.raises(KilledError):
            keeper.remove(API_KEY)
        world.writes_left = 1000
        keeper.remove(API_KEY)
        assert world.secret(API_KEY) is None
        assert not world.kept[PATH]
        world.writes.clear()


def test_what_only_vault_has_may_be_another_namespaces_and_is_not_deleted(
    world: World, keeper: Keeper
):
    world.kept[PATH] = {"api-key": "theirs"}
    assert keeper.removable(API_KEY) is None
    keeper.remove(API_KEY)
    assert world.kept[PATH] == {"api-key": "theirs"}


def test_a_sealed_vault_keeps_nothing_but_setting_and_deleting(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    world.sealed = True
    assert keeper.stored(API_KEY).value == "sk-new"
    for act in (lambda: keeper.store(API_KEY, given("x")), lambda: keeper.remove(API_KEY)):
        with pytest.raises(VaultUnavailableError):
            act()
    assert world.secret(API_KEY) == "sk-new"


def test_a_lock_that_was_lost_keeps_from_writing_to_vault(world: World, keeper: Keeper):
    def lost() -> None:
        raise LockLostError("lost")

    world.guard = lost
    with pytest.raises(LockLostError):
        keeper.store(API_KEY, given())
    assert world.kept == {}


def test_who_may_not_look_at_the_store_can_insist_on_vault_and_is_else_given_plain_secrets(
    world: World, keeper: Keeper
):
    world.unseen = {"ClusterSecretStore"}
    assert keeper.look(API_KEY).store.state is StoreState.UNKNOWN
    assert keeper.store(API_KEY, given())
    assert world.kept == {}
    assert wanting(keeper, secrets="vault").store(API_KEY, given("sk-3"))
    assert world.kept == {PATH: {"api-key": "sk-3"}}


def test_who_may_not_look_at_external_secrets_goes_by_the_secrets_owner(
    world: World, keeper: Keeper
):
    keeper.store(API_KEY, given())
    world.unseen = {"ExternalSecret"}
    kept = keeper.look(API_KEY)
    assert (kept.external, kept.maker) == (None, Maker.SYNCED)


def test_who_may_not_ask_what_is_served_sees_no_external_secrets(monkeypatch: pytest.MonkeyPatch):
    def refuse(_: Any) -> str:
        raise NoRightError("no right to look")

    monkeypatch.setattr(syncing, "external_secrets_version", refuse)
    api: Any = None
    assert syncing.Operator.of(Cluster("vllm", "", api)).version == ""
