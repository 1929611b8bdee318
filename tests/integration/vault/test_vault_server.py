"""Vault's own KV engine, AppRole and wrapping behind a server: written, refused, logged in to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox.vault.running import Keys
from vllm_flows.credentials import PLACES, Place
from vllm_flows.errors import (
    ConfigurationError,
    VaultConflictError,
    VaultError,
    VaultUnavailableError,
    VllmFlowsError,
)
from vllm_flows.settings import Settings
from vllm_flows.vault import Held, Vault
from vllm_flows.vault_access import Access, AppRoleLogin, TokenLogin

PATH = "vllm/api-key"


def access_to(keys: Keys, token: str = "", **other: Any) -> Access:
    login = TokenLogin(token or keys.token, "VLLM_VAULT_TOKEN")
    return replace(Access(keys.address, "", keys.authority, "secret", login), **other)


def write(access: Access, value: str = "canary-value") -> bool:
    with Vault.opened(access) as vault:
        return vault.write(PATH, "api-key", value)


def read(access: Access) -> Held:
    with Vault.opened(access) as vault:
        return vault.read(PATH)


def refused(call: Callable[[], Any], *secrets: str) -> VllmFlowsError:
    with pytest.raises(VllmFlowsError) as caught:
        call()
    for secret in ("canary", *secrets):
        assert secret not in str(caught.value)
    return caught.value


def test_values_are_versions_beside_the_keys_of_others(vault_server: Keys):
    access = access_to(vault_server)
    assert write(access)
    assert not write(access)
    engine = vault_server.root().secrets.kv.v2
    engine.create_or_update_secret(PATH, {"api-key": "a", "other": "theirs"}, mount_point="secret")
    assert write(access, "b")
    with Vault.opened(access) as vault:
        assert vault.read(PATH) == Held(3, {"api-key": "b", "other": "theirs"})
        assert vault.remove(PATH, "api-key")
        assert not vault.remove(PATH, "api-key")
    assert read(access) == Held(4, {"other": "theirs"})
    engine.delete_latest_version_of_secret(PATH, mount_point="secret")
    assert read(access) == Held(4, {})
    assert write(access)
    engine.destroy_secret_versions(PATH, versions=[5], mount_point="secret")
    assert write(access)
    engine.delete_metadata_and_all_versions(PATH, mount_point="secret")
    assert read(access) == Held(0, {})
    assert write(access)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.secret)
def test_the_shipped_policies_let_both_secrets_be_kept_and_nothing_beside_them(
    vault_server: Keys, place: Place
):
    settings = Settings()
    path = getattr(settings, place.path_setting)
    reader = access_to(vault_server, vault_server.reader)
    with Vault.opened(access_to(vault_server)) as vault:
        for value in ("first", "second"):
            assert vault.write(path, place.key, value)
        with Vault.opened(reader) as reading:
            assert reading.read(path).values == {place.key: "second"}
        assert vault.remove(path, place.key)
        refused(lambda: vault.read(f"{path}-beside"))
    with Vault.opened(reader) as reading:
        refused(lambda: reading.read(f"{path}-beside"))


def test_of_two_writers_at_once_one_is_told_and_overwrites_nothing(vault_server: Keys):
    both = threading.Barrier(2)
    told: list[VaultConflictError] = []

    def run(value: str) -> None:
        with Vault.opened(access_to(vault_server), both.wait) as vault:  # each has read by then
            try:
                vault.write(PATH, "api-key", value)
            except VaultConflictError as error:
                told.append(error)

    writers = [threading.Thread(target=run, args=(value,)) for value in ("one", "two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (error,) = told
    assert "somebody else wrote secret/data/vllm/api-key" in error.what
    assert read(access_to(vault_server)).version == 1


def test_a_sealed_vault_says_so_and_has_everything_when_it_is_back(vault_server: Keys):
    access = access_to(vault_server)
    write(access)
    vault_server.seal()
    error = refused(lambda: read(access))
    assert isinstance(error, VaultUnavailableError)
    assert "is sealed" in error.what
    vault_server.unseal()
    assert read(access).version == 1


def test_a_token_without_the_right_is_told_the_path_and_the_policy(vault_server: Keys):
    access = access_to(vault_server, vault_server.reader)
    assert read(access).version == 0
    error = refused(lambda: write(access), vault_server.reader)
    assert "does not let this token write secret/data/vllm/api-key" in error.what
    assert 'path "secret/data/vllm/api-key" { capabilities = ["create", "read", "update"] }' in (
        error.why
    )


def test_other_mounts_are_told_from_those_of_version_2(vault_server: Keys):
    root = access_to(vault_server, vault_server.root_token, allow_root=True)
    old = refused(lambda: write(replace(root, mount="kv1")), vault_server.root_token)
    assert isinstance(old, ConfigurationError)
    assert "is one of version 1" in old.what
    none = refused(lambda: write(replace(root, mount="nowhere")), vault_server.root_token)
    assert "nothing mounted at nowhere/" in none.what
    listed = vault_server.root().secrets.kv.v1
    with pytest.raises(Exception, match="data/vllm"):
        listed.read_secret(f"data/{PATH}", mount_point="kv1")


def test_who_may_not_know_the_mount_is_told_of_the_policy(vault_server: Keys):
    error = refused(lambda: write(access_to(vault_server, mount="nowhere")))
    assert "does not let this token read nowhere/data/vllm/api-key" in error.what
    assert "or nothing is mounted there" in error.why


def test_a_token_that_has_ended_and_one_of_root_are_refused(vault_server: Keys):
    made = vault_server.root().auth.token.create(policies=["vllm-flows"], ttl="1h")
    token = made["auth"]["client_token"]
    vault_server.root().auth.token.revoke(token)
    error = refused(lambda: write(access_to(vault_server, token)), token)
    assert "does not accept the token of VLLM_VAULT_TOKEN" in error.what
    root = refused(lambda: write(access_to(vault_server, vault_server.root_token)))
    assert "root token" in root.what


def test_a_token_that_would_end_within_the_work_lives_longer_afterwards(vault_server: Keys):
    made = vault_server.root().auth.token.create(
        policies=["vllm-flows"], ttl="60s", explicit_max_ttl="1h", renewable=True
    )
    with Vault.opened(access_to(vault_server, made["auth"]["client_token"])) as vault:
        assert vault.token.seconds > 60


def approle(keys: Keys, **made: Any) -> tuple[str, dict[str, Any]]:
    """Return the RoleID and what Vault answers when a SecretID is made."""
    client = keys.root()
    role = client.auth.approle.read_role_id("vllm-flows")["data"]["role_id"]
    return role, client.auth.approle.generate_secret_id("vllm-flows", **made)


def test_an_approle_logs_in_with_its_secret_id_and_its_token_ends_with_the_work(
    vault_server: Keys,
):
    role, made = approle(vault_server)
    secret = made["data"]["secret_id"]
    login = AppRoleLogin(role, secret, "approle")
    with Vault.opened(access_to(vault_server, login=login)) as vault:
        vault.write(PATH, "api-key", "value")
        token = vault.client.token
    assert "does not accept" in refused(lambda: read(access_to(vault_server, token)), token).what
    wrong = replace(login, secret_id="canary-wrong")
    error = refused(lambda: read(access_to(vault_server, login=wrong)), secret)
    assert isinstance(error, VaultError)
    assert "refuses the login by approle" in error.what
    nowhere = replace(login, mount="nowhere")
    error = refused(lambda: read(access_to(vault_server, login=nowhere)), secret)
    assert "login" in error.what
    assert "nowhere" in str(error)


def test_a_wrapped_secret_id_is_given_out_once(vault_server: Keys):
    role, made = approle(vault_server, wrap_ttl="5m")
    wrapping = made["wrap_info"]["token"]
    login = AppRoleLogin(role, wrapping, "approle", wrapped=True)
    for _ in range(2):  # which logs in again with what it unwrapped
        read(access_to(vault_server, login=login))
    role, made = approle(vault_server, wrap_ttl="5m")
    used = made["wrap_info"]["token"]
    vault_server.client(used).sys.unwrap()
    taken = replace(login, secret_id=used)
    error = refused(lambda: read(access_to(vault_server, login=taken)), used)
    assert "was used already" in error.what


def test_a_certificate_is_trusted_by_its_authority_alone(tls_vault_server: Keys):
    access = access_to(tls_vault_server)
    assert write(access)
    error = refused(lambda: write(replace(access, ca_cert="")))
    assert "is not trusted" in error.what
    assert "VLLM_VAULT_CA_CERT" in error.next_command
    plain = replace(access, address=access.address.replace("https", "http"))
    assert "speaks https, not http" in refused(lambda: write(plain)).what


def test_https_to_a_port_of_http_is_told(vault_server: Keys, tmp_path: Path):
    assert tmp_path
    access = access_to(vault_server)
    secure = replace(access, address=access.address.replace("http", "https"))
    assert "speaks http, not https" in refused(lambda: write(secure)).what


def test_a_vault_that_is_away_is_told(vault_server: Keys):
    away = replace(access_to(vault_server), address="http://127.0.0.1:9")
    error = refused(lambda: write(away))
    assert isinstance(error, VaultUnavailableError)
    assert "Connection refused" in error.why
