from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import lifecycle, processes, secret_store
from sandbox.errors import SandboxError
from sandbox.external_secrets.definitions import GROUP
from sandbox.progress import silent
from sandbox.state import Ports, SandboxState
from sandbox.vault.running import Keys


@pytest.fixture
def sandbox(tmp_path: Path) -> SandboxState:
    made = SandboxState(tmp_path / "try", "0123", Ports(1, 2, 3, 4, 5, 6, 7, 8, 9), "token", {})
    made.make_directories()
    return made


def test_a_sandbox_without_a_vault_says_nothing_of_one(sandbox: SandboxState) -> None:
    assert secret_store.keys_of(sandbox) is None
    assert not [name for name in lifecycle.exports(sandbox) if "VAULT" in name]


def test_a_vault_is_told_of_with_a_token_that_is_not_roots(sandbox: SandboxState) -> None:
    sandbox.vault.mkdir()
    keys = Keys(sandbox.vault_url, "unseal", "hvs.root", "hvs.token", "hvs.reader")
    keys.save(secret_store.keys_file(sandbox))
    told = lifecycle.exports(sandbox)
    assert told["VAULT_ADDR"] == "http://127.0.0.1:9"
    assert told["VAULT_TOKEN"] == "hvs.token"
    assert Path(told["VLLM_SANDBOX_VAULT_KEYS"]) == secret_store.keys_file(sandbox)
    assert "hvs.root" not in str(told)


def test_a_vault_that_is_there_is_left_alone(sandbox: SandboxState) -> None:
    sandbox.vault.mkdir()
    Keys("http://127.0.0.1:9", "unseal", "hvs.root").save(secret_store.keys_file(sandbox))
    secret_store.up(sandbox, silent)


def test_a_vault_that_was_never_finished_is_told(
    sandbox: SandboxState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "is_running", lambda _sandbox, _name: True)
    with pytest.raises(SandboxError, match="never finished") as told:
        secret_store.up(sandbox, silent)
    assert told.value.next_command == "python -m sandbox down --name try, then up again"


def test_the_store_reads_with_the_token_that_is_in_the_cluster() -> None:
    made = secret_store.store("http://127.0.0.1:9")
    vault = made["spec"]["provider"]["vault"]
    assert made["apiVersion"].startswith(f"{GROUP}/")
    assert (vault["path"], vault["version"]) == ("secret", "v2")
    assert vault["auth"]["tokenSecretRef"]["namespace"] == secret_store.NAMESPACE
