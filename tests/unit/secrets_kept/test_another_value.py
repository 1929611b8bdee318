"""A value that Vault holds for others is not replaced unasked."""

from __future__ import annotations

import pytest

from tests.unit.secrets_kept.conftest import World, wanting
from tests.unit.secrets_kept.stored import PATH, given, plain
from vllm_flows.credentials import API_KEY
from vllm_flows.errors import AnotherValueError, ConfigurationError, VaultConflictError
from vllm_flows.external_secrets import KIND
from vllm_flows.keeping import Keeper
from vllm_flows.secret_mode import Mode
from vllm_flows.secret_moving import moves, perform
from vllm_flows.vault import Held


def test_the_first_key_of_a_namespace_does_not_replace_anothers(world: World, keeper: Keeper):
    world.kept[PATH] = {"api-key": "canary-theirs"}
    with pytest.raises(AnotherValueError, match="holds another API key already") as caught:
        keeper.store(API_KEY, given())
    for way in ("move-secrets --to vault", "VLLM_VAULT_API_KEY_PATH=", "set-api-key --yes"):
        assert way in caught.value.next_command
    assert "canary" not in str(caught.value)
    assert (world.kept[PATH], world.writes) == ({"api-key": "canary-theirs"}, [])
    assert "unset VLLM_API_KEY" in caught.value.next_command
    assert keeper.store(API_KEY, given(), replacing=True)
    assert world.kept[PATH] == {"api-key": "sk-new"}


def test_a_key_that_comes_to_vault_at_that_moment_is_not_replaced(
    world: World, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
):
    read = world.read

    def overtaken(path: str) -> Held:
        held = read(path)
        world.kept[path] = {"api-key": "theirs"}
        return held

    monkeypatch.setattr(world, "read", overtaken)
    with pytest.raises(VaultConflictError):
        keeper.store(API_KEY, given())
    assert world.kept[PATH] == {"api-key": "theirs"}


def test_blanks_around_a_value_make_no_other_of_it(world: World, keeper: Keeper):
    world.kept[PATH] = {"api-key": "sk-old\n"}
    plain(world)
    named = wanting(keeper, api_key="sk-old")
    perform(named, moves(named, Mode.VAULT))
    assert world.secret(API_KEY) == "sk-old"
    plain(world, "sk-old\n")
    world.items.pop((KIND, API_KEY.external))
    assert moves(named, Mode.VAULT)
    world.items.clear()
    world.kept[PATH] = {"api-key": "sk-old\n"}
    assert moves(named, Mode.VAULT)


def test_what_a_run_was_given_replaces_nothing_in_vault(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    for act in (
        lambda: keeper.store(API_KEY, given("canary-3")),
        lambda: keeper.foresee(keeper.look(API_KEY), given("canary-3")),
    ):
        with pytest.raises(AnotherValueError, match="another API key than VLLM_API_KEY") as caught:
            act()
        assert "vllm-flows set-api-key " in caught.value.next_command
        assert "unset VLLM_API_KEY" in caught.value.next_command
        assert "canary" not in str(caught.value)
    assert world.kept[PATH] == {"api-key": "sk-new"}


def test_a_person_sets_another_value_where_the_secret_is_from(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    assert keeper.store(API_KEY, given("sk-3"), anew=True)
    assert world.secret(API_KEY) == "sk-3"


def test_what_a_run_was_given_goes_where_vault_has_none_any_more(world: World, keeper: Keeper):
    keeper.store(API_KEY, given())
    world.kept[PATH].clear()
    assert keeper.foresee(keeper.look(API_KEY), given("sk-3")) == ""
    assert keeper.store(API_KEY, given("sk-3"))


def test_a_plan_foresees_whose_value_would_be_replaced(world: World, keeper: Keeper):
    assert keeper.foresee(keeper.look(API_KEY), given()) == ""
    world.kept[PATH] = {"api-key": "theirs"}
    with pytest.raises(AnotherValueError):
        keeper.foresee(keeper.look(API_KEY), given())
    assert world.writes == []


def test_a_plan_tells_that_vault_cannot_be_asked(world: World, keeper: Keeper):
    world.sealed = True
    note = keeper.foresee(keeper.look(API_KEY), given())
    assert "Secret vllm-api-key" in note
    assert "Vault is sealed" in note


def test_a_move_is_refused_while_the_variable_names_another_value(world: World, keeper: Keeper):
    world.kept[PATH] = {"api-key": "sk-theirs"}
    with pytest.raises(ConfigurationError, match="VLLM_API_KEY holds another API key") as caught:
        moves(wanting(keeper, api_key="canary-4"), Mode.VAULT)
    assert "unset VLLM_API_KEY" in caught.value.next_command
    assert "canary" not in str(caught.value)
    assert moves(wanting(keeper, api_key="sk-theirs"), Mode.VAULT)
    world.kept.clear()
    plain(world)
    with pytest.raises(ConfigurationError, match="VLLM_API_KEY holds another API key"):
        moves(wanting(keeper, api_key="canary-4"), Mode.VAULT)


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
