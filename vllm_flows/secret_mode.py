"""Where a secret is kept, in Vault or in a plain Secret, and why: functions of data. Pure.

What makes a Secret now decides first: nothing is moved unasked. `move-secrets` turns one mode into
the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from vllm_flows.errors import ConfigurationError, SecretStoreError, VllmFlowsError

Wanted = Literal["auto", "vault", "kubernetes"]
_VAULT_V1 = "v1"


class Mode(StrEnum):
    """Where the values are: in Vault, from where an ExternalSecret makes the Secret, or in it."""

    VAULT = "vault"
    KUBERNETES = "kubernetes"


class Maker(StrEnum):
    """Who makes a Secret now: nobody, we, our ExternalSecret (SYNCED), or another."""

    NOBODY = "nobody"
    US = "us"
    SYNCED = "synced"
    OTHER = "other"


class StoreState(StrEnum):
    """How the ClusterSecretStore is; NOT_SERVED: the cluster knows no ExternalSecrets."""

    NOT_SERVED = "not served"
    ABSENT = "absent"
    NOT_READY = "not ready"
    READY = "ready"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Store:
    """The ClusterSecretStore as it was seen; `message` is what it says of itself.

    `vault` says that it reads a Vault: at `address`, at the mount `path` ("" when each key names
    its own), of the KV version `kv`.
    """

    name: str
    state: StoreState
    message: str = ""
    vault: bool = True
    address: str = ""
    path: str = ""
    kv: str = "v2"

    @classmethod
    def of(cls, name: str, item: Mapping[str, Any] | None) -> Store:
        """Read it from the API's object, None where there is none."""
        if item is None:
            return cls(name, StoreState.ABSENT)
        provider = (item.get("spec") or {}).get("provider") or {}
        vault = provider.get("vault") or {}
        ready = condition(item)
        state = StoreState.READY if ready.get("status") == "True" else StoreState.NOT_READY
        message = str(ready.get("message") or ready.get("reason") or "it says nothing")
        return cls(
            name,
            state,
            message,
            vault="vault" in provider,
            address=str(vault.get("server") or ""),
            path=str(vault.get("path") or "").strip("/"),
            kv=str(vault.get("version") or "v2"),
        )

    @property
    def is_there(self) -> bool:
        """Say whether there is one, ready or not, as far as this account can see."""
        return self.state not in {StoreState.NOT_SERVED, StoreState.ABSENT}

    def told(self) -> str:
        """Say how it is, in a few words."""
        match self.state:
            case StoreState.NOT_SERVED:
                return "the cluster serves no ExternalSecrets"
            case StoreState.ABSENT:
                return f"there is no ClusterSecretStore {self.name}"
            case StoreState.NOT_READY:
                return f"ClusterSecretStore {self.name} is not ready: {self.message}"
            case StoreState.READY:
                return f"ClusterSecretStore {self.name} is ready"
            case StoreState.UNKNOWN:
                return f"this account may not look at ClusterSecretStore {self.name}"


def condition(item: Mapping[str, Any], kind: str = "Ready") -> Mapping[str, Any]:
    """Return a condition of an object's status; an empty one where it has none yet."""
    conditions = (item.get("status") or {}).get("conditions") or ()
    found: Mapping[str, Any] = next((one for one in conditions if one.get("type") == kind), {})
    return found


@dataclass(frozen=True)
class Choice:
    """Where a secret is kept, or goes when it is set, and why."""

    mode: Mode
    reason: str


def choose(wanted: Wanted, maker: Maker, store: Store, secret: str) -> Choice:
    """Decide where the value of the Secret named `secret` is kept."""
    if maker is Maker.SYNCED:
        return Choice(Mode.VAULT, f"an ExternalSecret makes Secret {secret}")
    if wanted != "auto":
        return Choice(Mode(wanted), f"VLLM_SECRETS is {wanted}")
    if maker is Maker.US:
        return Choice(Mode.KUBERNETES, f"Secret {secret} is a plain one already")
    mode = Mode.VAULT if store.state is StoreState.READY else Mode.KUBERNETES
    return Choice(mode, store.told())


def obstacle(wanted: Wanted, store: Store, mount: str) -> VllmFlowsError | None:
    """Return why nothing can be set by way of Vault; None when it can."""
    if wanted == "kubernetes":
        return ConfigurationError(
            "VLLM_SECRETS is kubernetes, and ExternalSecrets make the Secrets here",
            why="they would bring back what Vault holds",
            next_command="vllm-flows move-secrets --to kubernetes   (or unset VLLM_SECRETS)",
        )
    if store.state is StoreState.UNKNOWN:
        return None
    return _unusable(store) or _mismatch(store, mount)


def _unusable(store: Store) -> VllmFlowsError | None:
    look = f"kubectl describe clustersecretstore {store.name}"
    instead = "plain Secrets: VLLM_SECRETS=kubernetes"
    match store.state:
        case StoreState.NOT_SERVED:
            return SecretStoreError(
                "secrets cannot be kept in Vault here",
                why=f"{store.told()}: the External Secrets Operator is not installed",
                next_command="helm install external-secrets external-secrets --repo "
                "https://charts.external-secrets.io -n external-secrets --create-namespace   "
                f"({instead})",
            )
        case StoreState.ABSENT:
            return SecretStoreError(
                "secrets cannot be kept in Vault here",
                why=store.told(),
                next_command="kubectl get clustersecretstores   (name one in VLLM_SECRET_STORE; "
                f"{instead})",
            )
        case StoreState.NOT_READY:
            return SecretStoreError(
                f"ClusterSecretStore {store.name} is not ready",
                why=store.message,
                next_command=f"{look}   (its events say more; vllm-flows doctor looks at Vault)",
            )
        case _:
            return None


def _mismatch(store: Store, mount: str) -> ConfigurationError | None:
    """Say that what we would write to Vault is not what the store would read."""
    look = f"kubectl get clustersecretstore {store.name} -o yaml"
    if not store.vault:
        return ConfigurationError(
            f"ClusterSecretStore {store.name} reads no Vault",
            next_command=f"name one that does in VLLM_SECRET_STORE   ({look})",
        )
    if store.kv == _VAULT_V1:
        return ConfigurationError(
            f"ClusterSecretStore {store.name} reads a KV engine of version 1",
            why="that has no check-and-set: two writers would overwrite each other",
            next_command=f"set version: v2 in it, and a mount of version 2 in Vault   ({look})",
        )
    if store.path and store.path != mount.strip("/"):
        return ConfigurationError(
            f"ClusterSecretStore {store.name} reads the mount {store.path!r}, not {mount!r}",
            next_command=f"export VLLM_VAULT_MOUNT={store.path}   (also in .env)",
        )
    return None
