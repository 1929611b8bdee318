"""Another server with Vault's API: what clients rely on is not this sandbox's alone."""

from __future__ import annotations

import pytest
from hvac import exceptions

from sandbox.vault.running import Keys


def test_it_is_sealed_and_unsealed_alike(rusty_vault: Keys) -> None:
    client = rusty_vault.root()
    client.secrets.kv.v1.create_or_update_secret("vllm/a", {"x": "kept"})
    rusty_vault.seal()
    assert client.sys.is_sealed()
    with pytest.raises(exceptions.VaultDown):
        client.secrets.kv.v1.read_secret("vllm/a")
    rusty_vault.unseal()
    assert client.secrets.kv.v1.read_secret("vllm/a")["data"] == {"x": "kept"}


def test_approle_lets_in_alike(rusty_vault: Keys) -> None:
    root = rusty_vault.root()
    root.sys.enable_auth_method("approle")
    root.auth.approle.create_or_update_approle("vllm-flows", token_policies=["vllm-flows"])
    role_id = root.auth.approle.read_role_id("vllm-flows")["data"]["role_id"]
    secret_id = root.auth.approle.generate_secret_id("vllm-flows")["data"]["secret_id"]
    client = rusty_vault.client()
    with pytest.raises(exceptions.InvalidRequest, match="invalid secret id"):
        client.auth.approle.login(role_id, "wrong")
    assert "vllm-flows" in client.auth.approle.login(role_id, secret_id)["auth"]["policies"]
    assert client.is_authenticated()
    with pytest.raises(exceptions.Forbidden):
        rusty_vault.client("wrong").lookup_token()
