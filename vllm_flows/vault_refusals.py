"""What Vault's refusals mean, and what to do about each. Pure.

Texts and statuses are those of Vault 1.12 to 1.20 and of its KV engine: sealed 503; no such route
404; a missing right and an unknown token both 403; check-and-set, an unknown SecretID and a wrong
scheme all 400.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.errors import (
    ConfigurationError,
    VaultConflictError,
    VaultError,
    VaultUnavailableError,
    VllmFlowsError,
)

RIGHTS = ("create", "read", "update")
"""What the policy has to allow on the data of each path."""
NOT_FOUND = 404
_OVER_LOADED = 429
_BAD_REQUEST = 400
_FORBIDDEN = 403
_SERVERS_OWN = 500
_LARGEST = 300
_NO_VAULTS = {401, NOT_FOUND}
"""What others answer to questions that every Vault knows; a Vault itself never answers 401."""
_NO_ROUTE = "no handler for route"


@dataclass(frozen=True)
class Refusal:
    """An HTTP answer that is no success; `status` is 0 where it is not known."""

    status: int
    text: str

    def says(self, *words: str) -> bool:
        """Say whether one of these words is in it."""
        return any(word in self.text.lower() for word in words)

    @property
    def line(self) -> str:
        """Return it as one line, for people."""
        text = re.sub(r"^\d+ errors? occurred:", "", " ".join(self.text.split())).strip(" *")
        return text[:_LARGEST] or f"HTTP {self.status}"


@dataclass(frozen=True)
class Asked:
    """What was asked of Vault: `do` for people, and the path below `/v1/`."""

    do: str
    path: str
    address: str


@dataclass(frozen=True)
class Mount:
    """What is mounted at a path: the engine's type and, of KV, its version; "" for unknown."""

    kind: str = ""
    version: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Mount:
        """Read it from the `data` of `sys/internal/ui/mounts/PATH`."""
        kind = str(data.get("type") or "")
        version = str((data.get("options") or {}).get("version") or "1")
        return cls(kind, version if kind == "kv" else "")


def policy(*paths: str) -> str:
    """Return the lines of a policy that let us do what we do at these paths."""
    rights = ", ".join(f'"{right}"' for right in RIGHTS)
    return "\n".join(f'path "{path}" {{ capabilities = [{rights}] }}' for path in paths)


def unusable_health(health: Mapping[str, Any], address: str) -> VaultUnavailableError | None:
    """Return what keeps Vault from answering, by its `sys/health`; None when nothing does."""
    if not health:
        return None
    if health.get("initialized") is False:
        return VaultUnavailableError(
            f"Vault at {address} is not initialised",
            next_command="vault operator init   (whoever runs it)",
        )
    return _sealed(address) if health.get("sealed") else None


def _sealed(address: str) -> VaultUnavailableError:
    return VaultUnavailableError(
        f"Vault at {address} is sealed",
        why="it gives out and takes nothing",
        next_command="vault operator unseal   (who has the keys), then run this again",
    )


def explain(asked: Asked, refusal: Refusal) -> VllmFlowsError:
    """Turn the refusal of a request that was allowed to log in into our error."""
    if refusal.status == _FORBIDDEN:
        return no_right(asked)
    if refusal.status == NOT_FOUND:
        return no_mount(asked, asked.path.partition("/")[0])
    if refusal.says("vault is sealed"):
        return _sealed(asked.address)
    if refusal.status >= _SERVERS_OWN or refusal.status == _OVER_LOADED:
        return _passing(asked, refusal)
    return _by_its_words(asked, refusal)


def _by_its_words(asked: Asked, refusal: Refusal) -> VllmFlowsError:
    """Tell refusals apart that share the status 400."""
    if refusal.says("http request to an https server"):
        return _wrong_scheme(asked)
    if refusal.says("check-and-set parameter did not match"):
        return _conflict(asked)
    if refusal.says("upgrading from non-versioned"):
        return VaultUnavailableError(
            f"Vault at {asked.address} is just making its KV engine one of version 2",
            next_command="run this again in a minute",
        )
    return VaultError(
        f"Vault refuses to {asked.do} {asked.path}",
        why=refusal.line,
        next_command="vllm-flows doctor",
    )


def no_right(asked: Asked) -> VaultError:
    """Say which path, and which lines of a policy allow it."""
    return VaultError(
        f"Vault does not let this token {asked.do} {asked.path}",
        why=f"no policy of it allows that, or nothing is mounted there; a policy needs\n"
        f"{policy(asked.path)}",
        next_command="vault policy read vllm-flows; vault token capabilities "
        f"{asked.path}   (an administrator writes the policy)",
    )


def no_mount(asked: Asked, mount: str) -> ConfigurationError:
    """Say that no engine is mounted there."""
    return ConfigurationError(
        f"Vault at {asked.address} has nothing mounted at {mount}/",
        why=f"it knows no route {asked.path}",
        next_command="vault secrets list   (then export VLLM_VAULT_MOUNT=…)",
    )


def wrong_engine(mount: str, found: Mount) -> ConfigurationError | None:
    """Return why the engine that is mounted will not do; None when it will, or is not known."""
    if not found.kind or (found.kind == "kv" and found.version == "2"):
        return None
    if found.kind != "kv":
        return ConfigurationError(
            f"what Vault has at {mount}/ is an engine {found.kind}, not KV",
            next_command="vault secrets list   (then export VLLM_VAULT_MOUNT=…)",
        )
    return old_engine(mount)


def old_engine(mount: str) -> ConfigurationError:
    """Say that the engine keeps no versions."""
    return ConfigurationError(
        f"the KV engine at {mount}/ is one of version 1",
        why="that has no check-and-set: two writers would overwrite each other",
        next_command=f"vault kv enable-versioning {mount}   (or name another in VLLM_VAULT_MOUNT)",
    )


def no_vault(address: str) -> VaultError:
    """Say that something else answers at the address."""
    return VaultError(
        f"what answers at {address} is no Vault",
        next_command="export VLLM_VAULT_ADDRESS=https://vault.example.com:8200",
    )


def not_accepted(
    address: str, source: str, refusal: Refusal, namespace: str = ""
) -> VllmFlowsError:
    """Say what it means that Vault does not describe the token that we came with.

    Every Vault has tokens, in every `namespace` that it has.
    """
    asked = Asked("use", "auth/token/lookup-self", address)
    if refusal.status in _NO_VAULTS:
        known = namespace and refusal.says(_NO_ROUTE)
        return _no_namespace(address, namespace) if known else no_vault(address)
    if refusal.status not in {_FORBIDDEN, _BAD_REQUEST} or refusal.says("https server"):
        return explain(asked, refusal)
    elsewhere = f", is not one of namespace {namespace} (VLLM_VAULT_NAMESPACE)" if namespace else ""
    return VaultError(
        f"Vault at {address} does not accept the token of {source}",
        why=f"it has expired, was revoked{elsewhere} or is another Vault's (or its policies lack "
        "`default`)",
        next_command="vault login   (or renew it where it comes from)",
    )


def _no_namespace(address: str, namespace: str) -> ConfigurationError:
    return ConfigurationError(
        f"Vault at {address} has no namespace {namespace}",
        why="VLLM_VAULT_NAMESPACE (or VAULT_NAMESPACE) names it",
        next_command="vault namespace list   (then export VLLM_VAULT_NAMESPACE=…)",
    )


def login_refused(address: str, method: str, mount: str, refusal: Refusal) -> VllmFlowsError:
    """Say what it means that Vault lets us not log in by `method`."""
    path = f"auth/{mount}/login"
    asked = Asked("log in by", path, address)
    if refusal.status >= _SERVERS_OWN or refusal.says("https server", "is sealed"):
        return explain(asked, refusal)
    if refusal.status in _NO_VAULTS and not refusal.says(_NO_ROUTE):
        return no_vault(address)
    if refusal.says(_NO_ROUTE):
        return ConfigurationError(
            f"Vault at {address} has no login mounted at auth/{mount}",
            next_command="vault auth list   (then export VLLM_VAULT_LOGIN_MOUNT=…)",
        )
    return VaultError(
        f"Vault at {address} refuses the login by {method}",
        why=refusal.line,
        next_command=_LOGIN_ADVICE[method].format(mount=mount),
    )


_LOGIN_ADVICE = {
    "kubernetes": "vault read auth/{mount}/role/ROLE   (its account and namespace have to be those "
    "of this pod, and VLLM_VAULT_ROLE its name)",
    "approle": "vault write -f auth/{mount}/role/ROLE/secret-id   (for a new SecretID; "
    "vault read auth/{mount}/role/ROLE/role-id has the RoleID)",
}


def not_unwrapped(address: str, mount: str, refusal: Refusal) -> VllmFlowsError:
    """Say what it means that the wrapped SecretID is not given out."""
    if refusal.status >= _SERVERS_OWN or refusal.says("https server", "is sealed"):
        return explain(Asked("unwrap", "sys/wrapping/unwrap", address), refusal)
    return VaultError(
        "the wrapped SecretID cannot be unwrapped: it was used already, or has ended",
        why="each can be unwrapped once; if it was not you, somebody else has the SecretID: "
        "have it destroyed",
        next_command=f"vault write -wrap-ttl=5m -f auth/{mount}/role/ROLE/secret-id   (then export "
        "VLLM_VAULT_WRAPPED_SECRET_ID anew)",
    )


def redirected(address: str, target: str) -> VaultError:
    """Say that the token would go on to `target`, where all on the way could read it."""
    return VaultError(
        f"Vault at {address} sends requests on to {target}, which is not https",
        why="the token would be readable by all on the way; it was not sent there",
        next_command="export VLLM_VAULT_ADDRESS=https://…   (of the node itself; whoever runs "
        "Vault sets its api_addr to https)",
    )


def _conflict(asked: Asked) -> VaultConflictError:
    return VaultConflictError(
        f"somebody else wrote {asked.path} in Vault at the same time",
        why="nothing was overwritten: the value there is theirs",
        next_command="look at what is there now, then run the same command again if it is still "
        "wanted",
    )


def _wrong_scheme(asked: Asked) -> ConfigurationError:
    return ConfigurationError(
        f"Vault at {asked.address} speaks https, not http",
        next_command=f"export VLLM_VAULT_ADDRESS=https{asked.address.removeprefix('http')}",
    )


def _passing(asked: Asked, refusal: Refusal) -> VaultUnavailableError:
    advice = "vault status   (then run this again)"
    if refusal.says("standby", "not active", "active cluster node"):
        return VaultUnavailableError(
            f"Vault at {asked.address} has no active node now",
            why=refusal.line,
            next_command=advice,
        )
    return VaultUnavailableError(
        f"Vault cannot {asked.do} {asked.path} now", why=refusal.line, next_command=advice
    )
