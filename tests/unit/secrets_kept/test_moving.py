"""Secrets turned from one way of keeping them into the other."""

from __future__ import annotations

import pytest

from tests.unit.secrets_kept.conftest import KilledError, World, wanting
from tests.unit.secrets_kept.stored import OURS, PATH, given, plain
from vllm_flows.credentials import API_KEY, HF_TOKEN
from vllm_flows.errors import ConfigurationError, SecretStoreError, TimedOutError
from vllm_flows.keeping import Keeper
from vllm_flows.secret_mode import Mode
from vllm_flows.secret_moving import moves, perform


def move(keeper: Keeper, to: Mode) -> None:
    perform(keeper, moves(keeper, to))


def test_both_secrets_move_to_vault_and_back_and_a_second_time_does_nothing(
    world: World, keeper: Keeper, said: list[str]
):
    plain(world)
    for _ in range(2):
        move(keeper, Mode.VAULT)
    assert world.kept == {PATH: {"api-key": "sk-old"}}
    assert "ExternalSecret" in keeper.look(API_KEY).source
    world.sealed = True
    for _ in range(2):
        move(keeper, Mode.KUBERNETES)
    assert keeper.look(API_KEY).source == "Secret vllm-api-key"
    assert "Secret vllm-api-key is a plain one now; Vault was not asked, and keeps what it has" in (
        said
    )
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


def test_who_moved_to_plain_secrets_is_told_how_they_stay_so(
    world: World, keeper: Keeper, said: list[str]
):
    plain(world)
    move(keeper, Mode.VAULT)
    said.clear()
    move(wanting(keeper, secrets="kubernetes"), Mode.KUBERNETES)
    assert not any("VLLM_SECRETS" in line for line in said)
    move(keeper, Mode.VAULT)
    move(keeper, Mode.KUBERNETES)
    assert said[-1].startswith("VLLM_SECRETS=kubernetes, also in .env")
    said.clear()
    move(keeper, Mode.KUBERNETES)
    assert not any("VLLM_SECRETS" in line for line in said)


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
