"""A key that only Vault holds is not taken for none, also where nobody can ask for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.secrets_kept.conftest import World, wanting
from tests.unit.secrets_kept.stored import PATH, plain
from vllm_flows.credentials import API_KEY, HF_TOKEN, Credential
from vllm_flows.errors import ConfigurationError, VaultUnavailableError, VllmFlowsError
from vllm_flows.keeping import Keeper
from vllm_flows.settings import Settings
from vllm_flows.unused_value import note_of_unused


def unconfigured(keeper: Keeper) -> Keeper:
    """Return the keeper of somebody who never set up Vault."""
    return replace(keeper, settings=Settings())


def test_a_key_that_only_vault_holds_is_not_taken_for_none(world: World, keeper: Keeper):
    assert note_of_unused(keeper, API_KEY) == ""
    world.kept[PATH] = {"api-key": "sk-there"}
    for wanted in ("auto", "vault"):
        with pytest.raises(ConfigurationError, match="holds an API key, and namespace") as caught:
            note_of_unused(wanting(keeper, secrets=wanted), API_KEY)
        assert "move-secrets --to vault" in caught.value.next_command
        assert "sk-there" not in str(caught.value)
    assert note_of_unused(wanting(keeper, secrets="kubernetes"), API_KEY) == ""


def test_a_vault_that_is_used_here_and_cannot_be_asked_stops_the_run(world: World, keeper: Keeper):
    world.sealed = True
    for wanted in ("auto", "vault"):
        with pytest.raises(VaultUnavailableError, match="Vault is sealed") as caught:
            note_of_unused(wanting(keeper, secrets=wanted), API_KEY)
        assert "whether Vault's secret/vllm/api-key holds an API key is not known" in str(
            caught.value
        )
        assert "open to all who reach it" in caught.value.why
        assert "VLLM_SECRETS=kubernetes" in caught.value.next_command
    assert note_of_unused(wanting(keeper, secrets="kubernetes"), API_KEY) == ""


@pytest.mark.parametrize("setting", ["vault_namespace", "vault_login_mount", "vault_role"])
def test_any_setting_of_vault_says_that_it_is_used_here(keeper: Keeper, setting: str):
    named = replace(keeper, settings=Settings.model_validate({setting: "x"}))
    with pytest.raises(VllmFlowsError, match="the address of Vault is not known"):
        note_of_unused(named, API_KEY)


def test_a_token_that_comes_from_vault_says_that_it_is_used_here(keeper: Keeper):
    keeper.store(HF_TOKEN, Credential("hf-token", "VLLM_HF_TOKEN", stored=False))
    with pytest.raises(VllmFlowsError, match="the address of Vault is not known"):
        note_of_unused(unconfigured(keeper), API_KEY)


def test_a_vault_that_nobody_set_up_here_stops_nobody_and_is_told(keeper: Keeper):
    note = note_of_unused(unconfigured(keeper), API_KEY)
    assert "whether Vault holds an API key is not known (the address of Vault" in note
    assert "VLLM_SECRETS=kubernetes" in note


def test_a_store_that_is_not_ready_is_told(world: World, keeper: Keeper):
    world.store_ready = False
    assert "is not ready: said by the store" in note_of_unused(keeper, API_KEY)
    world.served = ""
    assert note_of_unused(keeper, API_KEY) == ""


def test_a_secret_that_is_there_needs_no_question_to_vault(world: World, keeper: Keeper):
    plain(world)
    world.sealed = True
    assert note_of_unused(wanting(keeper, secrets="vault"), API_KEY) == ""
