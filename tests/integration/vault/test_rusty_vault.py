"""Another server with Vault's API: the login, the refusals and the seal are told alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hvac.exceptions import InvalidPath

from sandbox.vault.running import Keys
from vllm_flows.errors import VaultUnavailableError, VllmFlowsError
from vllm_flows.vault import Vault
from vllm_flows.vault_access import Access, AppRoleLogin, TokenLogin


def read(access: Access) -> Any:
    with Vault.opened(access) as vault:
        return vault.read("vllm/api-key")


def refused(call: Callable[[], Any]) -> VllmFlowsError:
    with pytest.raises(VllmFlowsError) as caught:
        call()
    return caught.value


def test_an_approle_is_let_in_or_told_why_not(rusty_vault: Keys):
    root = rusty_vault.root()
    root.sys.enable_auth_method("approle")
    root.auth.approle.create_or_update_approle("vllm-flows", token_policies=["vllm-flows"])
    role = root.auth.approle.read_role_id("vllm-flows")["data"]["role_id"]
    made = root.auth.approle.generate_secret_id("vllm-flows")["data"]["secret_id"]
    login = AppRoleLogin(role, made, "approle")
    access = Access(rusty_vault.address, "", "", "secret", login)
    with Vault.opened(access) as vault:
        assert vault.token.name == "approle"
    wrong = replace(access, login=replace(login, secret_id="wrong"))
    assert "refuses the login by approle" in refused(lambda: read(wrong)).what


def test_tokens_an_engine_without_versions_and_the_seal_are_told_alike(rusty_vault: Keys):
    access = Access(rusty_vault.address, "", "", "secret", TokenLogin("wrong", "VAULT_TOKEN"))
    assert "does not accept the token of VAULT_TOKEN" in refused(lambda: read(access)).what
    as_root = replace(access, login=TokenLogin(rusty_vault.root_token, "VAULT_TOKEN"))
    assert "root token" in refused(lambda: read(as_root)).what
    allowed = replace(as_root, allow_root=True)
    with Vault.opened(allowed) as vault:
        error = refused(lambda: vault.write("vllm/api-key", "api-key", "value"))
    assert "is one of version 1" in error.what
    with pytest.raises(InvalidPath):
        rusty_vault.root().secrets.kv.v1.read_secret("data/vllm/api-key")
    rusty_vault.seal()
    error = refused(lambda: read(as_root))
    assert isinstance(error, VaultUnavailableError)
    assert "is sealed" in error.what
