"""Token and key in Vault: set, made into Secrets, used, rotated, deleted, moved; and what fails."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import processes
from sandbox.secret_store import NAMESPACE, STORE, store
from tests.integration.product.changing_models import QWEN, session_of
from tests.integration.product.test_key_rotation import NEW, WRONG, of_every_replica
from tests.integration.product.test_key_rotation import OLD as KEY

if TYPE_CHECKING:
    from conftest import Product

    from sandbox.state import SandboxState
    from sandbox.vault.running import Keys

PATH = "vllm/api-key"


@pytest.fixture(autouse=True)
def _empty_vault(vault: Keys, vault_sandbox: SandboxState) -> None:
    """Begin each test with a store that is ready and no value in Vault; all share the paths."""
    for path in (PATH, "vllm/huggingface"):
        vault.root().secrets.kv.v2.delete_metadata_and_all_versions(path, mount_point="secret")
    program = [vault_sandbox.programs["kubectl"], "--kubeconfig", str(vault_sandbox.kubeconfig)]
    store_is_ready = ["clustersecretstore", STORE, "--for=condition=Ready", "--timeout=30s"]
    subprocess.check_call([*program, "wait", *store_is_ready])


def in_vault(vault: Keys) -> dict[str, Any] | None:
    """Return what the newest version holds."""
    from hvac.exceptions import InvalidPath

    try:
        found = vault.root().secrets.kv.v2.read_secret_version(
            PATH, mount_point="secret", raise_on_deleted_version=True
        )
    except InvalidPath:
        return None
    values: dict[str, Any] = found["data"]["data"]
    return values


def secret(product: Product) -> dict[str, Any]:
    """Return the API key's Secret."""
    found: dict[str, Any] = json.loads(
        product.kubectl("get", "secret", "vllm-api-key", "-o", "json")
    )
    return found


def value(product: Product) -> str:
    return base64.b64decode(secret(product)["data"]["api-key"]).decode()


def set_key(product: Product, key: str = KEY, code: int = 0, **environ: str) -> str:
    return product.run("set-api-key", "--stdin", stdin=key, code=code, **environ).stderr


def test_a_key_is_set_in_vault_used_rotated_and_deleted(
    vaulted: Product, vault: Keys, monkeypatch: pytest.MonkeyPatch
):
    said = set_key(vaulted)
    assert "kept in Vault's secret/vllm/api-key: ClusterSecretStore vault-secret-store" in said
    assert in_vault(vault) == {"api-key": KEY}
    assert value(vaulted) == KEY
    told = json.loads(vaulted.run("get-api-key", "-o", "json").stdout)
    assert told["value"] == KEY
    assert "made by ExternalSecret vllm-api-key-external-secret from Vault's" in told["source"]
    assert "holds that value already" in set_key(vaulted)
    vaulted.install(QWEN)
    for words in (["plan"], ["install", "--yes"]):
        refused = vaulted.run(*words, code=64, VLLM_API_KEY=NEW).stderr
        assert "holds another API key than VLLM_API_KEY" in refused
    assert in_vault(vault) == {"api-key": KEY}
    said = vaulted.run("set-api-key", VLLM_API_KEY=NEW).stderr
    assert "secret/vllm/api-key counts for all namespaces that read it" in said
    assert in_vault(vault) == {"api-key": NEW}
    vaulted.install(QWEN, VLLM_API_KEY=NEW)
    session = session_of(vaulted, monkeypatch)
    assert of_every_replica(session) == [{None: 401, WRONG: 401, KEY: 401, NEW: 200}]
    assert "in Vault: an ExternalSecret makes" in vaulted.run("doctor").stdout
    vaulted.run("delete-api-key", "--yes")
    assert in_vault(vault) == {}
    assert "nothing to delete" in vaulted.run("delete-api-key").stderr
    vaulted.run("get-api-key", code=1)
    assert "vllm-api-key" not in vaulted.kubectl("get", "secrets,externalsecrets", "-o", "name")


def test_while_vault_is_sealed_what_is_there_is_read_and_nothing_set(place: Product, vault: Keys):
    set_key(place)
    vault.seal()
    assert place.run("get-api-key").stdout == f"{KEY}\n"
    for words in (["delete-api-key", "--yes"], ["set-api-key", "--generate"]):
        said = place.run(*words, code=1).stderr
        assert "is sealed" in said or "is not ready" in said
    doctor = place.run("doctor", code=1).stdout
    assert "is sealed" in doctor
    place.run("move-secrets", "--to", "kubernetes", "--yes")
    vault.unseal()
    assert value(place) == KEY
    assert "ownerReferences" not in secret(place)["metadata"]
    assert in_vault(vault) == {"api-key": KEY}


def test_what_is_changed_in_vault_itself_and_set_again_comes_at_once(place: Product, vault: Keys):
    set_key(place)
    vault.root().secrets.kv.v2.create_or_update_secret(
        PATH, {"api-key": NEW, "other": "theirs"}, mount_point="secret"
    )
    assert "is set" in set_key(place, NEW)
    assert value(place) == NEW
    place.run("delete-api-key", "--yes")
    assert in_vault(vault) == {"other": "theirs"}


def test_secrets_move_to_vault_and_back_and_a_move_that_was_killed_goes_on(
    place: Product, vault: Keys
):
    set_key(place, VLLM_SECRETS="kubernetes")
    assert in_vault(vault) is None
    uid = secret(place)["metadata"]["uid"]
    operator = processes.process_ids(place.sandbox)["external_secrets"]
    os.kill(operator, signal.SIGSTOP)
    try:
        with place.start("move-secrets", "--to", "vault", "--yes") as process:
            assert process.stderr
            while "is not synced" not in process.stderr.readline():
                assert process.poll() is None
            process.kill()
    finally:
        os.kill(operator, signal.SIGCONT)
    assert value(place) == KEY
    place.run("unlock", "--force", "--yes")
    place.run("move-secrets", "--to", "vault", "--yes")
    assert in_vault(vault) == {"api-key": KEY}
    again = place.run("move-secrets", "--to", "vault").stderr
    assert "is made from Vault already" in again
    place.run("move-secrets", "--to", "kubernetes", code=64)
    place.run("move-secrets", "--to", "kubernetes", "--yes")
    metadata = secret(place)["metadata"]
    assert metadata["uid"] == uid
    assert metadata["labels"] == {"app.kubernetes.io/managed-by": "vllm-flows"}
    assert value(place) == KEY
    assert "a plain one already" in place.run("move-secrets", "--to", "kubernetes").stderr


def test_a_service_account_logs_in_by_its_own_token(place: Product, vault: Keys):
    place.kubectl("create", "namespace", place.namespace)
    place.kubectl("create", "serviceaccount", "vllm-flows")
    file = place.folder / "jwt"
    file.write_text(place.kubectl("create", "token", "vllm-flows"))
    given = {
        "VAULT_TOKEN": "",
        "VLLM_VAULT_LOGIN": "kubernetes",
        "VLLM_VAULT_ROLE": "vllm-flows",
        "VLLM_VAULT_JWT_FILE": str(file),
    }
    set_key(place, **given)
    assert in_vault(vault) == {"api-key": KEY}
    refused = set_key(place, NEW, code=1, **given | {"VLLM_VAULT_ROLE": "nobody"})
    assert "refuses the login by kubernetes" in refused


def apply(product: Product, *items: dict[str, Any]) -> None:
    file = product.folder / "items.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    product.kubectl("-n", NAMESPACE, "apply", "-f", str(file))


def blind_store(product: Product, vault: Keys, token: str, name: str) -> None:
    """Make a store with a token of its own, in the operator's namespace."""
    made = store(vault.address, name)
    made["spec"]["provider"]["vault"]["auth"]["tokenSecretRef"]["name"] = name
    held = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "stringData": {"token": token},
    }
    apply(product, held, made)


def test_a_store_that_is_not_ready_is_told_in_its_own_words_and_plain_secrets_do(
    place: Product, vault: Keys
):
    blind_store(place, vault, "hvs.wrong", "unready")
    place.kubectl(
        "wait", "clustersecretstore/unready", "--for=condition=Ready=false", "--timeout=30s"
    )
    unready = {"VLLM_SECRET_STORE": "unready"}
    said = set_key(place, code=1, VLLM_SECRETS="vault", **unready)
    assert "ClusterSecretStore unready is not ready" in said
    assert "kept in Secret vllm-api-key: ClusterSecretStore unready is" in set_key(place, **unready)
    assert in_vault(vault) is None
    assert value(place) == KEY
    assert (
        "ClusterSecretStore unready is not ready" in place.run("doctor", code=1, **unready).stdout
    )


def test_a_secret_that_the_operator_may_not_read_is_waited_for_with_the_stores_words(
    place: Product, vault: Keys
):
    made = vault.root().auth.token.create(policies=["default"], ttl="1h")
    blind_store(place, vault, made["auth"]["client_token"], "blind")
    place.kubectl("wait", "clustersecretstore/blind", "--for=condition=Ready", "--timeout=30s")
    with place.start("set-api-key", "--generate", VLLM_SECRET_STORE="blind") as process:
        assert process.stderr
        said = ""
        while "permission denied" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert "ExternalSecret vllm-api-key-external-secret is not synced" in said
    (place.folder / "models.yaml").write_text(QWEN)
    for words in (["get-api-key"], ["plan"], ["install", "--yes"]):
        refused = place.run(*words, code=1).stderr
        assert "has made no Secret yet" in refused
        assert "permission denied" in refused
    assert "it is not there, and an install would stop" in place.run("doctor", code=1).stdout


def test_what_somebody_elses_external_secret_makes_is_left_alone(place: Product, vault: Keys):
    set_key(place)
    name = "externalsecret/vllm-api-key-external-secret"
    place.kubectl("label", name, "app.kubernetes.io/managed-by=else", "--overwrite")
    for words in (
        ["set-api-key", "--generate"],
        ["delete-api-key", "--yes"],
        ["move-secrets", "--to", "kubernetes", "--yes"],
    ):
        said = place.run(*words, code=64).stderr
        assert "was not made by vllm-flows" in said
        assert "externalsecret vllm-api-key-external-secret   (" in said
        assert "to be kept in" not in said
    assert value(place) == KEY
    assert in_vault(vault) == {"api-key": KEY}


def test_a_key_at_another_path_than_the_settings_name_is_told_and_set_anew(
    place: Product, vault: Keys
):
    set_key(place)
    other = {"VLLM_VAULT_API_KEY_PATH": "vllm/huggingface"}
    old = "vllm/api-key of ClusterSecretStore vault-secret-store"
    assert f"made from {old}" in place.run("doctor", code=1, **other).stdout
    assert old in place.run("delete-api-key", "--yes", code=64, **other).stderr
    said = set_key(place, NEW, **other)
    assert f"{old} is no longer used here after this" in said
    assert "is not synced" not in said
    assert value(place) == NEW
    assert in_vault(vault) == {"api-key": KEY}


def test_uninstall_takes_the_secrets_away_and_vault_keeps_them(vaulted: Product, vault: Keys):
    set_key(vaulted)
    said = vaulted.run("uninstall", "--yes").stderr
    assert "Vault's secret/vllm/api-key keeps what it has" in said
    assert in_vault(vault) == {"api-key": KEY}
    assert "vllm-api-key" not in vaulted.kubectl("get", "secrets,externalsecrets", "-o", "name")
    (vaulted.folder / "models.yaml").write_text(QWEN)
    for words in (["plan"], ["install", "--yes"]):
        said = vaulted.run(*words, code=1, VAULT_TOKEN="hvs.expired").stderr
        assert "does not accept the token" in said
        assert "VLLM_SECRETS=kubernetes" in said
    mistyped = {"VLLM_SECRET_STORE": "vault-stor"}
    for words in (["plan"], ["install", "--yes"]):
        said = vaulted.run(*words, code=64, **mistyped).stderr
        assert "Vault's secret/vllm/api-key holds an API key, and namespace" in said
        assert "there is no ClusterSecretStore vault-stor" in said
    assert "does not use it" in vaulted.run("doctor", **mistyped).stdout
    assert "holds another API key already" in set_key(vaulted, NEW, code=64)
    vaulted.run("move-secrets", "--to", "vault", "--yes")
    assert value(vaulted) == KEY


def test_a_key_of_another_namespace_is_used_by_a_fresh_one_and_replaced_by_no_run(
    place: Product, vault: Keys
):
    vault.root().secrets.kv.v2.create_or_update_secret(PATH, {"api-key": KEY}, mount_point="secret")
    (place.folder / "models.yaml").write_text(QWEN)
    other = {"VLLM_API_KEY": NEW}
    for words in (["plan"], ["install", "--yes"]):
        said = place.run(*words, code=64, **other).stderr
        assert "holds another API key already" in said
        assert "unset VLLM_API_KEY, also in .env, then vllm-flows move-secrets --to vault" in said
    said = place.run("move-secrets", "--to", "vault", "--yes", code=64, **other).stderr
    assert "VLLM_API_KEY holds another API key than Vault's secret/vllm/api-key" in said
    assert place.namespace not in place.kubectl("get", "namespaces", "-o", "name")
    place.run("move-secrets", "--to", "vault", "--yes")
    assert value(place) == KEY
    assert "another API key than VLLM_API_KEY" in place.run("plan", code=64, **other).stderr
    vault.seal()
    assert "install would stop there" in place.run("plan", **other).stderr
    vault.unseal()
    assert in_vault(vault) == {"api-key": KEY}
