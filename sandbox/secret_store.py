"""A Vault and External Secrets for a sandbox: `python -m sandbox up --vault`."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sandbox import controlplane, processes
from sandbox.agent.api import Api, ApiError
from sandbox.errors import SandboxError
from sandbox.external_secrets import definitions
from sandbox.external_secrets.decisions import is_ready
from sandbox.progress import Report
from sandbox.state import SandboxState
from sandbox.vault import furnishing, program, running
from sandbox.vault.running import Keys

STORE = "vault-secret-store"
"""The ClusterSecretStore, by the name that vllm-flows looks for."""
NAMESPACE = "external-secrets"
TOKEN_SECRET = "vault-token"  # noqa: S105 -- the Secret's name
_REVIEWER = "vault"
_REVIEWER_SECONDS = 7 * 24 * 3600
_PATIENCE_SECONDS = 60.0

Object = dict[str, Any]


def keys_file(sandbox: SandboxState) -> Path:
    """Return the file with what opens the sandbox's Vault; it is there when all is ready."""
    return sandbox.vault / "keys.json"


def keys_of(sandbox: SandboxState) -> Keys | None:
    """Return what opens the sandbox's Vault; None when it has none."""
    return running.load_keys(keys_file(sandbox))


def exports(sandbox: SandboxState) -> dict[str, str]:
    """Return the environment variables that point at the sandbox's Vault; none without one.

    The token may what vllm-flows needs. The file has the root token and the unseal key.
    """
    keys = keys_of(sandbox)
    if keys is None:
        return {}
    return {
        "VAULT_ADDR": keys.address,
        "VAULT_TOKEN": keys.token,
        "VLLM_SANDBOX_VAULT_KEYS": str(keys_file(sandbox)),
    }


def up(sandbox: SandboxState, report: Report) -> None:
    """Start a Vault and External Secrets, with a store that is ready. One that is up stays.

    Raises SandboxError with what failed.
    """
    if keys_of(sandbox) is not None:
        return
    if processes.is_running(sandbox, "vault"):
        again = f"python -m sandbox down --name {sandbox.name}, then up again"
        raise SandboxError("the sandbox's Vault was never finished", next_command=again)
    start_vault(sandbox, report)
    keys = running.initialize(sandbox.vault_url, lambda: processes.is_running(sandbox, "vault"))
    controlplane.apply(sandbox, [*definitions.custom_resources(), *_accounts()])
    _wait(sandbox, "the definitions of External Secrets", _definitions_are_served)
    keys = furnishing.furnish(keys, _cluster(sandbox))
    report(f"the vault is ready on {keys.address}")
    start_external_secrets(sandbox)
    controlplane.apply(sandbox, [_token_secret(keys), store(keys.address)])
    _wait(sandbox, f"the store {STORE}", _store_is_ready)
    keys.save(keys_file(sandbox))
    report(f"External Secrets is ready, and its store {STORE}")


def start_vault(sandbox: SandboxState, report: Report) -> None:
    """Start the Vault's process; it begins sealed and has what it had before."""
    built = program.ensure(report)
    sandbox.vault.mkdir(mode=0o700, exist_ok=True)
    words = running.command(built, sandbox.ports.vault, data=sandbox.vault / "data")
    processes.start(sandbox, "vault", words, processes.environment(sandbox.directory))


def start_external_secrets(sandbox: SandboxState) -> None:
    """Start the controller and return when it follows the cluster. Raises SandboxError."""
    ready = sandbox.directory / "external_secrets.ready"
    ready.unlink(missing_ok=True)
    arguments = ("--kubeconfig", str(sandbox.kubeconfig), "--ready", str(ready))
    processes.start_module(sandbox, "external_secrets", *arguments)
    _wait(sandbox, "External Secrets", lambda _api: ready.exists(), process="external_secrets")


def store(address: str, name: str = STORE) -> Object:
    """Return a ClusterSecretStore that reads the Vault with the sandbox's token for it."""
    reference = {"name": TOKEN_SECRET, "namespace": NAMESPACE, "key": "token"}
    vault = {
        "server": address,
        "path": furnishing.MOUNT,
        "version": "v2",
        "auth": {"tokenSecretRef": reference},
    }
    return {
        "apiVersion": f"{definitions.GROUP}/{definitions.VERSIONS[0]}",
        "kind": "ClusterSecretStore",
        "metadata": {"name": name},
        "spec": {"provider": {"vault": vault}},
    }


def _accounts() -> list[Object]:
    """Return the namespace and the service accounts: External Secrets' own, and Vault's."""
    accounts = [
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": NAMESPACE},
        }
        for name in (furnishing.READER, _REVIEWER)
    ]
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "vault-reviews-tokens"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:auth-delegator",
        },
        "subjects": [{"kind": "ServiceAccount", "name": _REVIEWER, "namespace": NAMESPACE}],
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    return [namespace, *accounts, binding]


def _cluster(sandbox: SandboxState) -> furnishing.Cluster:
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{_REVIEWER}/token"
    body = {"spec": {"expirationSeconds": _REVIEWER_SECONDS}}
    with closing(Api(sandbox.kubeconfig)) as api:
        token = api.create(path, body)["status"]["token"]
    authority = controlplane.authority(sandbox).read_text(encoding="ascii")
    return furnishing.Cluster(sandbox.api_url, authority, token)


def _token_secret(keys: Keys) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": TOKEN_SECRET, "namespace": NAMESPACE},
        "data": {"token": base64.b64encode(keys.reader.encode()).decode()},
    }


def _definitions_are_served(api: Api) -> bool:
    for definition in definitions.custom_resources():
        plural = definition["spec"]["names"]["plural"]
        for version in definitions.VERSIONS:
            api.get(f"/apis/{definitions.GROUP}/{version}/{plural}")
    return True


def _store_is_ready(api: Api) -> bool:
    path = f"/apis/{definitions.GROUP}/{definitions.VERSIONS[0]}/clustersecretstores/{STORE}"
    return is_ready(api.get(path))


def _wait(
    sandbox: SandboxState,
    what: str,
    there: Callable[[Api], bool],
    process: str = "vault",
) -> None:
    """Wait until something is there, as long as a process lives. Raises SandboxError."""
    end = time.monotonic() + _PATIENCE_SECONDS
    with closing(Api(sandbox.kubeconfig)) as api:
        while time.monotonic() < end and processes.is_running(sandbox, process):
            with suppress(ApiError):
                if there(api):
                    return
            time.sleep(0.1)
    raise SandboxError(f"{what} is not ready", why=processes.last_words(sandbox, process))
