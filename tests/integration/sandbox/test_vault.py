"""The sandbox's Vault, as hvac meets it: the API is Vault's, the engines HashiCorp's own."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hvac
import pytest
import requests
from hvac import exceptions

from sandbox import ports
from sandbox.vault import furnishing, running
from sandbox.vault.running import Keys
from tests.integration.conftest import served

KEY = "vllm/api-key"


def test_values_have_versions_that_are_deleted_and_come_back(vault_server: Keys) -> None:
    engine = vault_server.root().secrets.kv.v2
    for value in ("one", "two"):
        engine.create_or_update_secret(KEY, {"api-key": value})
    engine.delete_latest_version_of_secret(KEY)
    with pytest.raises(exceptions.InvalidPath) as deleted:
        engine.read_secret_version(KEY, raise_on_deleted_version=True)
    assert deleted.value.json["data"]["metadata"]["version"] == 2
    engine.undelete_secret_versions(KEY, [2])
    read = engine.read_secret_version(KEY, raise_on_deleted_version=True)["data"]
    assert (read["data"], read["metadata"]["version"]) == ({"api-key": "two"}, 2)
    assert engine.read_secret_version(KEY, 1, raise_on_deleted_version=True)["data"]["data"] == {
        "api-key": "one"
    }
    assert engine.list_secrets("vllm")["data"]["keys"] == ["api-key"]
    engine.delete_metadata_and_all_versions(KEY)
    with pytest.raises(exceptions.InvalidPath):
        engine.read_secret_metadata(KEY)


def test_a_write_with_an_old_version_changes_nothing(vault_server: Keys) -> None:
    engine = vault_server.root().secrets.kv.v2
    engine.create_or_update_secret(KEY, {"api-key": "first"}, cas=0)
    for old in (0, 2):
        with pytest.raises(exceptions.InvalidRequest, match="check-and-set parameter did not"):
            engine.create_or_update_secret(KEY, {"api-key": "lost"}, cas=old)
    engine.create_or_update_secret(KEY, {"api-key": "second"}, cas=1)
    assert engine.read_secret_metadata(KEY)["data"]["current_version"] == 2


def test_of_two_writers_at_once_one_wins(vault_server: Keys) -> None:
    def write(number: int) -> bool:
        engine = vault_server.root().secrets.kv.v2
        try:
            engine.create_or_update_secret(KEY, {"api-key": str(number)}, cas=0)
        except exceptions.InvalidRequest:
            return False
        return True

    with ThreadPoolExecutor(8) as writers:
        assert sorted(writers.map(write, range(8))) == [False] * 7 + [True]


def test_whoever_may_anything_in_a_mount_learns_its_version(vault_server: Keys) -> None:
    made = vault_server.root().auth.token.create(policies=["vllm-flows"], no_default_policy=True)
    client = vault_server.client(made["auth"]["client_token"])
    for path in ("secret", "secret/data/vllm/any"):
        found = client.read(f"sys/internal/ui/mounts/{path}")["data"]
        assert (found["path"], found["options"]) == ("secret/", {"version": "2"})
    for refused in ("kv1", "nowhere"):
        with pytest.raises(exceptions.Forbidden, match="preflight capability check returned 403"):
            client.read(f"sys/internal/ui/mounts/{refused}")
    with pytest.raises(exceptions.Forbidden):
        vault_server.client("wrong").read("sys/internal/ui/mounts/secret")


def test_a_mount_tells_its_version_and_refuses_the_other_ones_paths(vault_server: Keys) -> None:
    client = vault_server.root()
    versions = {
        mount: client.read(f"sys/internal/ui/mounts/{mount}")["data"]["options"]["version"]
        for mount in (furnishing.MOUNT, furnishing.OLD_MOUNT)
    }
    assert versions == {"secret": "2", "kv1": "1"}
    client.secrets.kv.v1.create_or_update_secret("a", {"x": "y"}, mount_point="kv1")
    assert client.secrets.kv.v1.read_secret("a", mount_point="kv1")["data"] == {"x": "y"}
    with pytest.raises(exceptions.InvalidPath):
        client.secrets.kv.v2.read_secret_version(
            "a", mount_point="kv1", raise_on_deleted_version=True
        )
    with pytest.raises(exceptions.InvalidPath, match="Invalid path for a versioned K/V"):
        client.secrets.kv.v1.read_secret("a", mount_point="secret")
    with pytest.raises(exceptions.InvalidPath, match="no handler for route"):
        client.secrets.kv.v1.read_secret("a", mount_point="nowhere")


def test_a_policy_allows_what_it_says_and_no_more(vault_server: Keys) -> None:
    allowed = vault_server.client(vault_server.token)
    allowed.secrets.kv.v2.create_or_update_secret(KEY, {"api-key": "a"}, cas=0)
    reader = vault_server.client(vault_server.reader)
    assert reader.secrets.kv.v2.read_secret_version(KEY, raise_on_deleted_version=True)
    for refused in (
        lambda: reader.secrets.kv.v2.create_or_update_secret(KEY, {"api-key": "b"}),
        lambda: reader.secrets.kv.v2.read_secret_metadata(KEY),
        lambda: allowed.secrets.kv.v2.create_or_update_secret("other", {"a": "b"}),
        allowed.sys.seal,
        allowed.sys.list_policies,
        lambda: vault_server.client("wrong").lookup_token(),
        lambda: vault_server.client().lookup_token(),
    ):
        with pytest.raises(exceptions.Forbidden, match="permission denied"):
            refused()


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        ({"secret/data/*": ["read"]}, "secret/data/a/b", ["read"]),
        ({"secret/data/*": ["read"]}, "secret/metadata/a", ["deny"]),
        ({"secret/+/vllm": ["read"]}, "secret/data/vllm", ["read"]),
        ({"secret/+/vllm": ["read"]}, "secret/data/deep/vllm", ["deny"]),
        ({"secret/*": ["read"], "secret/data/a": ["update"]}, "secret/data/a", ["update"]),
        ({"secret/*": ["read"], "secret/data/a*": ["deny"]}, "secret/data/ab", ["deny"]),
        ({"secret/+/a": ["read"], "secret/data/*": ["update"]}, "secret/data/a", ["update"]),
        ({"secret/data/a": ["create", "read"]}, "secret/data/a", ["create", "read"]),
    ],
)
def test_the_pattern_that_fits_best_decides(
    vault_server: Keys, rules: dict[str, list[str]], path: str, expected: list[str]
) -> None:
    client = vault_server.root()
    text = "\n".join(
        f'path "{pattern}" {{ capabilities = {granted} }}'.replace("'", '"')
        for pattern, granted in rules.items()
    )
    client.sys.create_or_update_policy("tried", text)
    token = client.auth.token.create(policies=["tried"])["auth"]["client_token"]
    found = vault_server.client(token).sys.get_capabilities([path])
    assert found["data"][path] == expected


def test_a_sealed_server_says_so_and_has_everything_when_it_is_unsealed(
    vault_server: Keys,
) -> None:
    client = vault_server.client(vault_server.token)
    client.secrets.kv.v2.create_or_update_secret(KEY, {"api-key": "kept"}, cas=0)
    vault_server.seal()
    assert client.sys.is_sealed()
    assert client.sys.read_health_status(method="GET").status_code == 503
    with pytest.raises(exceptions.VaultDown, match="Vault is sealed"):
        client.lookup_token()
    with pytest.raises(exceptions.InvalidRequest):
        client.sys.submit_unseal_key("00" * 33)
    assert client.sys.is_sealed()
    vault_server.unseal()
    read = client.secrets.kv.v2.read_secret_version(KEY, raise_on_deleted_version=True)
    assert read["data"]["data"] == {"api-key": "kept"}


def test_several_unseal_keys_are_needed_when_it_was_initialized_so(
    vault_program: Path, tmp_path: Path
) -> None:
    port = ports.unused()
    with served(running.command(vault_program, port), tmp_path / "log"):
        client = hvac.Client(f"http://127.0.0.1:{port}")
        until(lambda: client.sys.read_health_status(method="GET").status_code == 501)
        keys = client.sys.initialize(3, 2)["keys_base64"]
        assert client.sys.submit_unseal_key(keys[0])["progress"] == 1
        assert client.sys.submit_unseal_key(keys[0])["sealed"]
        assert not client.sys.submit_unseal_key(keys[2])["sealed"]


def test_a_token_ends_when_its_time_is_over_unless_it_is_renewed(vault_server: Keys) -> None:
    made = vault_server.root().auth.token.create(
        policies=["vllm-flows"], ttl="2s", explicit_max_ttl="1h"
    )
    client = vault_server.client(made["auth"]["client_token"])
    assert client.lookup_token()["data"]["ttl"] <= 2
    assert client.auth.token.renew_self(increment="1h")["auth"]["lease_duration"] > 3000
    short = vault_server.root().auth.token.create(policies=["vllm-flows"], ttl="1s")
    other = vault_server.client(short["auth"]["client_token"])
    until(lambda: not other.is_authenticated())
    assert client.is_authenticated()


def test_a_token_that_is_not_renewable_is_not_renewed(vault_server: Keys) -> None:
    made = vault_server.root().auth.token.create(policies=["vllm-flows"], renewable=False)
    with pytest.raises(exceptions.InvalidRequest, match="not renewable"):
        vault_server.client(made["auth"]["client_token"]).auth.token.renew_self()


def test_a_revoked_token_takes_those_it_made_with_it(vault_server: Keys) -> None:
    root = vault_server.root()
    root.sys.create_or_update_policy(
        "maker", 'path "auth/token/create" { capabilities = ["update"] }'
    )
    parent = root.auth.token.create(policies=["maker"])["auth"]["client_token"]
    child = vault_server.client(parent).auth.token.create(policies=["default"])["auth"]
    with pytest.raises(exceptions.InvalidRequest, match="subset of parent"):
        vault_server.client(parent).auth.token.create(policies=["vllm-flows"])
    vault_server.client(parent).auth.token.revoke_self()
    assert not vault_server.client(child["client_token"]).is_authenticated()


def test_a_token_of_one_use_is_used_once(vault_server: Keys) -> None:
    made = vault_server.root().auth.token.create(policies=["vllm-flows"], num_uses=1)
    client = vault_server.client(made["auth"]["client_token"])
    assert client.lookup_token()
    assert not client.is_authenticated()


def test_approle_lets_in_with_a_wrapped_secret_id_that_opens_once(vault_server: Keys) -> None:
    root = vault_server.root().auth.approle
    role_id = root.read_role_id("vllm-flows")["data"]["role_id"]
    wrapped = root.generate_secret_id("vllm-flows", wrap_ttl="60s")["wrap_info"]["token"]
    client = vault_server.client()
    secret_id = client.sys.unwrap(wrapped)["data"]["secret_id"]
    with pytest.raises(exceptions.InvalidRequest, match="wrapping token is not valid"):
        client.sys.unwrap(wrapped)
    auth = client.auth.approle.login(role_id, secret_id)["auth"]
    assert (auth["policies"], auth["renewable"]) == (["default", "vllm-flows"], True)
    assert client.lookup_token()["data"]["display_name"] == "approle"
    with pytest.raises(exceptions.InvalidRequest, match="invalid secret id"):
        vault_server.client().auth.approle.login(role_id, "wrong")


def test_a_wrapping_ends_when_its_time_is_over(vault_server: Keys) -> None:
    client = vault_server.client(vault_server.token)
    wrapped = client.sys.wrap({"a": "b"}, ttl=1)["wrap_info"]
    assert wrapped["ttl"] == 1

    def gone() -> bool:
        answer = requests.post(
            f"{vault_server.address}/v1/sys/wrapping/lookup",
            json={"token": wrapped["token"]},
            timeout=5,
        )
        return answer.status_code == 400

    until(gone)


def test_a_namespace_has_mounts_of_its_own(vault_server: Keys) -> None:
    team = hvac.Client(vault_server.address, vault_server.root_token, namespace="team")
    team.sys.enable_secrets_engine("kv", path="secret", options={"version": "2"})
    team.secrets.kv.v2.create_or_update_secret(KEY, {"api-key": "team's"})
    assert "secret/" in team.sys.list_mounted_secrets_engines()["data"]
    with pytest.raises(exceptions.InvalidPath):
        vault_server.root().secrets.kv.v2.read_secret_version(KEY, raise_on_deleted_version=True)


def test_only_who_trusts_its_authority_talks_to_a_server_with_tls(tls_vault_server: Keys) -> None:
    client = tls_vault_server.client(tls_vault_server.token)
    client.secrets.kv.v2.create_or_update_secret(KEY, {"api-key": "a"}, cas=0)
    with pytest.raises(requests.exceptions.SSLError):
        hvac.Client(tls_vault_server.address).sys.is_initialized()


def test_a_server_that_is_started_again_has_everything_and_is_sealed(
    vault_program: Path, tmp_path: Path
) -> None:
    port = ports.unused()
    command = running.command(vault_program, port, data=tmp_path / "data")
    with served(command, tmp_path / "log") as process:
        keys = running.initialize(f"http://127.0.0.1:{port}", lambda: process.poll() is None)
        keys = furnishing.furnish(keys)
        keys.root().secrets.kv.v2.create_or_update_secret(KEY, {"api-key": "kept"})
    with served(command, tmp_path / "log"):
        client = keys.client(keys.token)
        until(client.sys.is_sealed)
        keys.unseal()
        read = client.secrets.kv.v2.read_secret_version(KEY, raise_on_deleted_version=True)
        assert read["data"]["data"] == {"api-key": "kept"}


def test_no_secret_is_in_the_servers_log(vault_server: Keys, tmp_path: Path) -> None:
    client = vault_server.client(vault_server.token)
    client.secrets.kv.v2.create_or_update_secret(KEY, {"api-key": "canary-value"})
    log = (tmp_path / "vault.log").read_text()
    assert "/v1/secret/data/vllm/api-key 200" in log
    for secret in ("canary-value", vault_server.token, vault_server.unseal_key):
        assert secret not in log


def until(happened: Any) -> None:
    """Wait until something is so; a server that does not answer yet is waited for too."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            if happened():
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError("it did not happen")
