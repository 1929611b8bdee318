"""Secrets set, found and deleted, wherever they are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.secrets_kept.conftest import KilledError, World, encoded, wanting
from vllm_flows.credentials import API_KEY, HF_TOKEN, Credential
from vllm_flows.errors import (
    ConfigurationError,
    NoSecretError,
    SecretStoreError,
    TimedOutError,
    VaultUnavailableError,
    VllmFlowsError,
)
from vllm_flows.keeping import Keeper, raise_if_pending
from vllm_flows.secret_mode import Mode
from vllm_flows.secret_moving import moves, perform

PATH = "vllm/api-key"
OURS = {"app.kubernetes.io/managed-by": "vllm-flows"}


def given(value: str = "sk-new", *, stored: bool = False) -> Credential:
    return Credential(value, "VLLM_API_KEY", stored=stored)


def plain(world: World, value: str = "sk-old", labels: dict[str, str] | None = None) -> None:
    world.items["Secret", API_KEY.secret] = {
        "kind": "Secret",
        "metadata": {"name": API_KEY.secret, "labels": dict(OURS) if labels is None else labels},
        "data": {API_KEY.key: encoded(value)},
    }


def move(keeper: Keeper, to: Mode) -> None:
    perform(keeper, moves(keeper, to))


def test_where_the_store_is_ready_a_value_goes_to_vault_and_comes_back_as_the_secret(
    world: World, keeper: Keeper
):
    assert keeper.store(API_KEY, given())
    assert world.kept == {PATH: {"api-key": "sk-new"}}
    assert world.secret(API_KEY) == "sk-new"
    assert (
        "made by ExternalSecret vllm-api-key-external-secret from Vault's secret/vllm/api-key"
        in (keeper.source(API_KEY))
    )


def test_a_new_value_is_asked_for_at_once(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    keeper.store(API_KEY, given("sk-other"))
    assert world.secret(API_KEY) == "sk-other"
    assert world.writes[-1] == f"annotate ExternalSecret {API_KEY.external} force-sync"


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


def test_where_the_path_is_another_the_secret_is_made_from_there(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    moved = wanting(keeper, vault_api_key_path="team/key")
    assert moved.store(API_KEY, given(stored=True), anew=True)
    assert world.kept["team/key"] == {"api-key": "sk-new"}
    (data,) = world.items["ExternalSecret", API_KEY.external]["spec"]["data"]
    assert data["remoteRef"]["key"] == "team/key"
    assert not moved.store(API_KEY, given(stored=True), anew=True)


@pytest.mark.parametrize("change", [{"served": ""}, {"store_ready": False}])
def test_elsewhere_a_plain_secret_does(world: World, keeper: Keeper, change: dict[str, Any]):
    for name, value in change.items():
        setattr(world, name, value)
    assert keeper.store(API_KEY, given())
    assert (world.secret(API_KEY), world.kept) == ("sk-new", {})
    assert keeper.source(API_KEY) == "Secret vllm-api-key"


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


def test_what_does_not_come_from_vault_is_waited_for_and_then_told_in_the_stores_words(
    world: World, keeper: Keeper
):
    world.operator_works = False
    with pytest.raises(TimedOutError) as caught:
        keeper.store(API_KEY, given())
    assert "could not get secret data: Vault is sealed" in caught.value.what
    assert "describe externalsecret vllm-api-key-external-secret" in caught.value.next_command
    assert caught.value.exit_code == 4


def test_a_secret_that_is_yet_to_be_made_is_not_taken_for_none(world: World, keeper: Keeper):
    cluster: Any = world
    raise_if_pending(cluster, API_KEY)
    world.operator_works = False
    with pytest.raises(TimedOutError):
        keeper.store(API_KEY, given())
    for ask in (lambda: raise_if_pending(cluster, API_KEY), lambda: keeper.stored(API_KEY)):
        with pytest.raises(SecretStoreError, match="has made no Secret yet"):
            ask()


@pytest.mark.parametrize("served", ["v1", ""])
def test_what_is_deleted_is_gone_from_the_cluster_and_from_vault(
    world: World, keeper: Keeper, served: str
):
    world.served = served
    world.kept[PATH] = {"other": "theirs"}
    keeper.store(API_KEY, given())
    assert keeper.removable(API_KEY)
    keeper.remove(API_KEY)
    assert world.secret(API_KEY) is None
    assert world.kept == {PATH: {"other": "theirs"}}
    assert keeper.removable(API_KEY) is None
    with pytest.raises(NoSecretError):
        keeper.stored(API_KEY)


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


def foreign(world: World, keeper: Keeper) -> None:
    """Let somebody else's ExternalSecret of our name make the Secret."""
    keeper.store(API_KEY, given("theirs"))
    world.items["ExternalSecret", API_KEY.external]["metadata"]["labels"] = {}


@pytest.mark.parametrize("make", [lambda world, _: plain(world, "theirs", {}), foreign])
def test_what_somebody_else_makes_is_left_alone_and_said(
    world: World, keeper: Keeper, make: Callable[[World, Keeper], None]
):
    make(world, keeper)
    before = list(world.writes)
    assert not keeper.store(API_KEY, given("theirs"))
    for act in (
        lambda: keeper.store(API_KEY, given()),
        lambda: keeper.remove(API_KEY),
        lambda: moves(keeper, Mode.VAULT),
        lambda: moves(keeper, Mode.KUBERNETES),
    ):
        with pytest.raises(ConfigurationError, match="was not made by vllm-flows"):
            act()
    assert world.writes == before


def test_both_secrets_move_to_vault_and_back_and_a_second_time_does_nothing(
    world: World, keeper: Keeper
):
    plain(world)
    for _ in range(2):
        move(keeper, Mode.VAULT)
    assert world.kept == {PATH: {"api-key": "sk-old"}}
    assert "ExternalSecret" in keeper.source(API_KEY)
    world.sealed = True
    for _ in range(2):
        move(keeper, Mode.KUBERNETES)
    assert keeper.source(API_KEY) == "Secret vllm-api-key"
    assert world.secret(API_KEY) == "sk-old"
    assert world.items["Secret", API_KEY.secret]["metadata"]["labels"] == OURS
    assert world.secret(HF_TOKEN) is None


@pytest.mark.parametrize("to", [Mode.VAULT, Mode.KUBERNETES])
def test_a_move_that_is_killed_anywhere_loses_nothing_and_goes_on(
    world: World, keeper: Keeper, to: Mode
):
    other = {Mode.VAULT: Mode.KUBERNETES, Mode.KUBERNETES: Mode.VAULT}[to]
    plain(world)
    move(keeper, other)
    for killed_after in range(20):
        world.writes_left = killed_after
        try:
            move(keeper, to)
        except KilledError:
            assert world.secret(API_KEY) == "sk-old"
        else:
            break
        world.writes_left = 1000
        move(keeper, to)
        assert world.secret(API_KEY) == "sk-old"
        assert all(one.step == "none" for one in moves(keeper, to))
        world.kept.clear() if to is Mode.VAULT else None
        move(keeper, other) if to is Mode.KUBERNETES else move(keeper, Mode.KUBERNETES)
        world.kept.clear() if to is Mode.VAULT else None
    assert killed_after > 1


def test_a_value_that_vault_has_is_taken_by_a_namespace_without_one(world: World, keeper: Keeper):
    world.kept[PATH] = {"api-key": "shared"}
    move(keeper, Mode.VAULT)
    assert world.secret(API_KEY) == "shared"


def test_two_different_values_are_never_decided_between(world: World, keeper: Keeper):
    plain(world)
    world.kept[PATH] = {"api-key": "another"}
    with pytest.raises(ConfigurationError, match="hold different values") as caught:
        moves(keeper, Mode.VAULT)
    assert "vllm-flows get-api-key | VLLM_SECRETS=vault vllm-flows set-api-key --stdin" in (
        caught.value.next_command
    )
    assert "another" not in str(caught.value)
    assert not world.writes


def test_a_move_against_the_setting_is_refused(keeper: Keeper):
    with pytest.raises(ConfigurationError, match="VLLM_SECRETS is kubernetes"):
        moves(wanting(keeper, secrets="kubernetes"), Mode.VAULT)


def test_a_secret_that_never_came_cannot_become_a_plain_one(world: World, keeper: Keeper):
    world.operator_works = False
    with pytest.raises(TimedOutError):
        keeper.store(API_KEY, given())
    with pytest.raises(SecretStoreError, match="has made no Secret yet"):
        moves(keeper, Mode.KUBERNETES)


def test_a_sealed_vault_keeps_nothing_but_setting_and_deleting(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    world.sealed = True
    assert keeper.stored(API_KEY).value == "sk-new"
    for act in (lambda: keeper.store(API_KEY, given("x")), lambda: keeper.remove(API_KEY)):
        with pytest.raises(VaultUnavailableError):
            act()
    assert world.secret(API_KEY) == "sk-new"


def test_a_key_that_only_vault_holds_is_not_taken_for_none(world: World, keeper: Keeper):
    keeper.raise_if_only_in_vault(API_KEY)
    world.kept[PATH] = {"api-key": "sk-there"}
    for wanted in ("auto", "vault"):
        with pytest.raises(ConfigurationError, match="holds an API key, and namespace") as caught:
            wanting(keeper, secrets=wanted).raise_if_only_in_vault(API_KEY)
        assert "move-secrets --to vault" in caught.value.next_command
        assert "sk-there" not in str(caught.value)
    wanting(keeper, secrets="kubernetes").raise_if_only_in_vault(API_KEY)
    world.store_ready = False
    keeper.raise_if_only_in_vault(API_KEY)


def test_a_vault_that_cannot_be_asked_stops_only_who_insists_on_it(world: World, keeper: Keeper):
    world.sealed = True
    keeper.raise_if_only_in_vault(API_KEY)
    with pytest.raises(VllmFlowsError):
        wanting(keeper, secrets="vault").raise_if_only_in_vault(API_KEY)


def test_a_secret_that_is_there_needs_no_question_to_vault(world: World, keeper: Keeper):
    plain(world)
    world.sealed = True
    wanting(keeper, secrets="vault").raise_if_only_in_vault(API_KEY)
