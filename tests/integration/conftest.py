"""Vault servers and a sandbox with Vault and External Secrets, for whoever asks for them.

- `vault_server`: HashiCorp's engines behind the sandbox's server, alone, fresh for each test;
  `tls_vault_server` is one that speaks HTTPS, with a CA of its own.
- `rusty_vault`: RustyVault, another server with Vault's API, where it is in the cache of the
  sandbox's programs. It takes ten minutes to build, and has no KV version 2, no lookup of a
  mount's version, no renewal, and (0.2.1) neither keeps policies nor ends tokens; so nothing
  builds it. What it has: the seal, tokens, AppRole, KV version 1, and other words for errors.
- `vault_sandbox`: one cluster for all tests, with Vault, External Secrets and a store that
  is looked at every second; `vault` opens its Vault: `vault.seal()`, `vault.unseal()`,
  `vault.root()`; it is unsealed again after each test.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sandbox import binaries, lifecycle, ports, secret_store
from sandbox.progress import silent
from sandbox.state import SandboxState
from sandbox.vault import furnishing, program, running
from sandbox.vault.running import Keys

_RUSTY = "0.2.1"
_RUSTY_CONFIGURATION = """
storage "file" {{
  path = "{folder}/rusty"
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = "true"
}}
work_dir = "{folder}"
"""


@pytest.fixture(scope="session")
def sandbox_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the sandboxes of these tests in a place of their own."""
    home = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home))
        # The simulated kubelet looks at healthy pods more often than their probes ask it to.
        patch.setenv("VLLM_SANDBOX_PROBE_FACTOR", "0.2")
        patch.setenv("VLLM_SANDBOX_STORE_SECONDS", "1")
        yield home


@pytest.fixture(scope="session")
def vault_program() -> Path:
    """Build the sandbox's Vault, if it is not there yet."""
    return program.ensure(silent)


@contextmanager
def served(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends."""
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=output) as one:
        try:
            yield one
        finally:
            one.terminate()


@pytest.fixture
def vault_server(vault_program: Path, tmp_path: Path) -> Iterator[Keys]:
    """Give each test a Vault of its own, furnished as the sandbox's is, without a cluster."""
    port = ports.unused()
    with served(running.command(vault_program, port), tmp_path / "vault.log") as process:
        made = running.initialize(f"http://127.0.0.1:{port}", lambda: process.poll() is None)
        yield furnishing.furnish(made)


@pytest.fixture
def tls_vault_server(vault_program: Path, tmp_path: Path) -> Iterator[Keys]:
    """Give each test a Vault that speaks HTTPS; `authority` is the file of its CA."""
    port, folder = ports.unused(), tmp_path / "tls"
    command = running.command(vault_program, port, tls=folder)
    with served(command, tmp_path / "vault.log") as process:
        made = running.initialize(
            f"https://127.0.0.1:{port}", lambda: process.poll() is None, folder / "ca.crt"
        )
        yield furnishing.furnish(made)


@pytest.fixture
def rusty_vault(tmp_path: Path) -> Iterator[Keys]:
    """Give each test a RustyVault of its own, initialized and unsealed; skip without one."""
    folder = binaries.cache_root() / f"rusty_vault-{_RUSTY}_{'-'.join(binaries.target())}"
    rusty = folder / "bin" / "rvault"
    if not rusty.is_file():
        how = f"cargo install rusty_vault --version {_RUSTY} --locked --root {folder}"
        pytest.skip(f"RustyVault is not in the cache; next: {how}")
    port, configuration = ports.unused(), tmp_path / "rusty.hcl"
    configuration.write_text(_RUSTY_CONFIGURATION.format(folder=tmp_path, port=port))
    command = [str(rusty), "server", "--config", str(configuration)]
    with served(command, tmp_path / "rusty.log") as process:
        yield running.initialize(f"http://127.0.0.1:{port}", lambda: process.poll() is None)


@pytest.fixture(scope="session")
def vault_sandbox(sandbox_home: Path) -> Iterator[SandboxState]:
    """Bring up one sandbox with a Vault and External Secrets for all tests."""
    assert sandbox_home
    try:
        yield lifecycle.up("vault", silent, vault=True)
    finally:
        lifecycle.down("vault", silent)


@pytest.fixture
def vault(vault_sandbox: SandboxState) -> Iterator[Keys]:
    """Open the sandbox's Vault; after the test it is unsealed, whatever the test did."""
    keys = secret_store.keys_of(vault_sandbox)
    assert keys is not None
    yield keys
    keys.unseal()
