"""A value that Vault holds for others is not replaced unasked."""

from __future__ import annotations

import pytest

from tests.unit.secrets_kept.conftest import World, wanting
from tests.unit.secrets_kept.stored import PATH, given, plain
from vllm_flows.credentials import API_KEY
from vllm_flows.errors import AnotherValueError
from vllm_flows.keeping import Keeper


def test_the_first_key_of_a_namespace_does_not_replace_anothers(world: World, keeper: Keeper):
    world.kept[PATH] = {"api-key": "canary-theirs"}
    with pytest.raises(AnotherValueError, match="holds another API key already") as caught:
        keeper.store(API_KEY, given())
    for way in ("move-secrets --to vault", "VLLM_VAULT_API_KEY_PATH=", "set-api-key --yes"):
        assert way in caught.value.next_command
    assert "canary" not in str(caught.value)
    assert (world.kept[PATH], world.writes) == ({"api-key": "canary-theirs"}, [])
    assert keeper.store(API_KEY, given(), replacing=True)
    assert world.kept[PATH] == {"api-key": "sk-new"}
    assert keeper.store(API_KEY, given("sk-3"))


def test_the_same_value_is_shared_unasked(world: World, keeper: Keeper):
    world.kept[PATH] = {"api-key": "sk-new", "other": "theirs"}
    assert keeper.store(API_KEY, given())
    assert world.secret(API_KEY) == "sk-new"


def test_a_new_path_where_others_keep_theirs_is_not_overwritten(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    world.kept["team/key"] = {"api-key": "theirs"}
    with pytest.raises(AnotherValueError):
        wanting(keeper, vault_api_key_path="team/key").store(API_KEY, given("sk-3"))
    assert world.kept["team/key"] == {"api-key": "theirs"}


def test_a_plain_secret_that_goes_to_vault_overwrites_nobodys(world: World, keeper: Keeper):
    plain(world)
    world.kept[PATH] = {"api-key": "theirs"}
    insisting = wanting(keeper, secrets="vault")
    with pytest.raises(AnotherValueError) as caught:
        insisting.store(API_KEY, given())
    assert "move-secrets" not in caught.value.next_command
    assert insisting.store(API_KEY, given(), replacing=True)
