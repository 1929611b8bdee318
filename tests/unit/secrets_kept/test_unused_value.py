"""A key that only Vault holds is not taken for none, also where nobody can ask for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.secrets_kept.conftest import VAULT, World, wanting
from tests.unit.secrets_kept.stored import PATH, plain
from vllm_flows import doctor_secrets, vault_client
from vllm_flows.credentials import API_KEY, HF_TOKEN, Credential
from vllm_flows.doctor_findings import State
from vllm_flows.errors import ConfigurationError, VaultUnavailableError, VllmFlowsError
from vllm_flows.keeping import Keeper
from vllm_flows.settings import Settings, load_settings
from vllm_flows.unused_value import note_of_unused
from vllm_flows.vault_tokens import Token


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


@pytest.mark.parametrize("name", ["VAULT_TOKEN", "VAULT_CACERT", "VAULT_NAMESPACE"])
def test_a_variable_of_vaults_own_may_be_there_for_others(
    world: World, keeper: Keeper, monkeypatch: pytest.MonkeyPatch, name: str
):
    world.store_there = False
    monkeypatch.setenv(name, "for-a-login-program")
    assert note_of_unused(replace(keeper, settings=load_settings()), API_KEY) == ""
    monkeypatch.setenv(f"VLLM_{name.replace('CACERT', 'CA_CERT')}", "for-us")
    world.store_there = True
    with pytest.raises(VllmFlowsError, match="the address of Vault is not known"):
        note_of_unused(replace(keeper, settings=load_settings()), API_KEY)


def test_an_address_of_vault_says_that_it_is_used_here_however_it_is_spelt(
    world: World, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
):
    world.store_ready = False
    for name in ("VLLM_VAULT_ADDRESS", "VAULT_ADDR"):
        with monkeypatch.context() as patched:
            patched.setenv(name, "http://vault:8200")
            with pytest.raises(VllmFlowsError, match="there is no Vault token: whether"):
                note_of_unused(replace(keeper, settings=load_settings()), API_KEY)


def test_a_token_that_comes_from_vault_says_that_it_is_used_here(keeper: Keeper):
    keeper.store(HF_TOKEN, Credential("hf-token", "VLLM_HF_TOKEN", stored=False))
    with pytest.raises(VllmFlowsError, match="the address of Vault is not known"):
        note_of_unused(unconfigured(keeper), API_KEY)


def test_a_vault_that_nobody_set_up_here_stops_nobody_and_is_told(keeper: Keeper):
    note = note_of_unused(unconfigured(keeper), API_KEY)
    assert "whether Vault holds an API key is not known (the address of Vault" in note
    assert "VLLM_SECRETS=kubernetes" in note


STORES: dict[str, dict[str, Any]] = {
    "is not ready: said by the store": {"store_ready": False},
    "there is no ClusterSecretStore": {"store_there": False},
    "may not look at ClusterSecretStore": {"unseen": {"ClusterSecretStore", "ExternalSecret"}},
    "the cluster serves no ExternalSecrets": {"served": ""},
}


BRINGS_NONE = [told for told in STORES if "serves no" in told or "there is no" in told]


@pytest.mark.parametrize("told", [told for told in STORES if "serves no" not in told])
def test_a_vault_that_is_used_here_is_asked_however_the_store_is(
    world: World, keeper: Keeper, told: str
):
    vars(world).update(STORES[told])
    assert note_of_unused(keeper, API_KEY) == ""
    world.kept[PATH] = {"api-key": "sk-there"}
    with pytest.raises(ConfigurationError, match="Vault's secret/vllm/api-key holds an") as caught:
        note_of_unused(keeper, API_KEY)
    assert told in caught.value.why
    assert note_of_unused(wanting(keeper, secrets="kubernetes"), API_KEY) == ""


def test_who_insists_on_vault_is_stopped_where_the_cluster_has_no_way_from_it(
    world: World, keeper: Keeper
):
    world.served, world.kept[PATH] = "", {"api-key": "sk-there"}
    with pytest.raises(ConfigurationError, match="Vault's secret/vllm/api-key holds an API key"):
        note_of_unused(wanting(keeper, secrets="vault"), API_KEY)
    world.sealed = True
    with pytest.raises(VaultUnavailableError, match="whether Vault's secret/vllm/api-key holds"):
        note_of_unused(wanting(keeper, secrets="vault"), API_KEY)


def test_a_key_of_vault_stops_nobody_whose_cluster_has_no_way_from_vault(
    world: World, keeper: Keeper
):
    world.served = ""
    assert note_of_unused(keeper, API_KEY) == ""
    world.kept[PATH] = {"api-key": "sk-there"}
    note = note_of_unused(keeper, API_KEY)
    assert "Vault's secret/vllm/api-key holds an API key, and namespace vllm does not" in note
    assert "the cluster serves no ExternalSecrets; what is installed without one is open" in note
    assert "next: VLLM_SECRETS=kubernetes vllm-flows set-api-key" in note
    assert "move-secrets" not in note
    assert "sk-there" not in note


@pytest.mark.parametrize("told", [told for told in STORES if told not in BRINGS_NONE])
def test_a_vault_that_is_used_here_and_silent_stops_the_run_however_the_store_is(
    world: World, keeper: Keeper, told: str
):
    vars(world).update(STORES[told], sealed=True)
    with pytest.raises(VaultUnavailableError, match="whether Vault's secret/vllm/api-key holds"):
        note_of_unused(keeper, API_KEY)


@pytest.mark.parametrize("told", BRINGS_NONE)
def test_a_silent_vault_stops_nobody_whose_cluster_has_nothing_that_brings_its_values(
    world: World, keeper: Keeper, told: str
):
    vars(world).update(STORES[told], sealed=True)
    note = note_of_unused(keeper, API_KEY)
    assert "whether Vault holds an API key is not known (Vault is sealed" in note


def test_a_silent_vault_stops_the_run_where_a_store_was_named(world: World, keeper: Keeper):
    vars(world).update(store_there=False, sealed=True)
    given = {**VAULT, "secret_store": "vault-stor"}
    named = replace(keeper, settings=Settings.model_validate(given))
    with pytest.raises(VaultUnavailableError, match="whether Vault's secret/vllm/api-key holds"):
        note_of_unused(named, API_KEY)


@pytest.mark.parametrize("told", STORES)
def test_a_store_that_tells_nothing_is_a_note_where_nobody_set_up_vault(
    world: World, keeper: Keeper, told: str
):
    vars(world).update(STORES[told])
    note = note_of_unused(unconfigured(keeper), API_KEY)
    assert (told in note) is ("is not ready" in told or "may not" in told)


def test_a_store_that_was_named_and_is_not_there_is_told(world: World, keeper: Keeper):
    world.store_there = False
    named = replace(keeper, settings=Settings.model_validate({"secret_store": "vault-stor"}))
    assert "there is no ClusterSecretStore vault-stor" in note_of_unused(named, API_KEY)


def test_a_secret_that_is_there_needs_no_question_to_vault(world: World, keeper: Keeper):
    plain(world)
    world.sealed = True
    assert note_of_unused(wanting(keeper, secrets="vault"), API_KEY) == ""


@pytest.mark.parametrize("told", ["ready", *STORES])
def test_the_doctor_says_that_vault_holds_a_key_which_is_not_used(
    world: World, keeper: Keeper, monkeypatch: pytest.MonkeyPatch, told: str
):
    vars(world).update(STORES.get(told, {}))
    monkeypatch.setattr(vault_client, "health", lambda _: {"sealed": False})
    world.token = Token("jane", (), 0, renewable=False)
    (finding,) = doctor_secrets._vault(keeper)  # noqa: SLF001 -- what the question asks
    assert (finding.state, "jane" in finding.found) == (State.OK, True)
    world.kept[PATH] = {"api-key": "sk-there"}
    (finding,) = doctor_secrets._vault(keeper)  # noqa: SLF001 -- what the question asks
    assert finding.state is State.WARNING
    assert "holds an API key, and namespace vllm does not use it" in finding.found
    assert ("move-secrets --to vault" in finding.fix) is ("serves no" not in told)
