"""What the sandbox's Vault is furnished with: mounts, policies, ways to log in, tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.vault.running import Keys

if TYPE_CHECKING:
    import hvac

MOUNT = "secret"
"""A KV engine of version 2."""
OLD_MOUNT = "kv1"
"""A KV engine of version 1."""
ROLE = "vllm-flows"
"""The role of both ways to log in, and the policy it gives: `deployments/vault` has both."""
READER = "external-secrets"
"""The role of External Secrets."""
READING = f"vllm-{READER}"
"""The policy of that role, under the name that it is shipped with."""

# How long what a login gives lives, and what is made for the sandbox's users.
_LOGIN = "20m"
_LONG = "24h"

_POLICIES = {ROLE: ROLE, READER: READING}
_SHIPPED = Path(__file__).parents[2] / "deployments" / "vault"
"""The policies as they are shipped: what works here works with these."""


@dataclass(frozen=True)
class Cluster:
    """The Kubernetes API that Vault asks about tokens, and the token it asks with."""

    address: str
    authority: str
    reviewer_token: str


def furnish(keys: Keys, cluster: Cluster | None = None) -> Keys:
    """Make a new server like one that people use; return its keys with tokens that may less.

    Service accounts can log in only where a cluster is given: `vllm-flows` and
    `external-secrets`, in any namespace.
    """
    client = keys.root()
    client.sys.enable_secrets_engine("kv", path=MOUNT, options={"version": "2"})
    client.sys.enable_secrets_engine("kv", path=OLD_MOUNT, options={"version": "1"})
    for role, policy in _POLICIES.items():
        rules = (_SHIPPED / f"{role}.hcl").read_text(encoding="utf-8")
        client.sys.create_or_update_policy(policy, rules)
    client.sys.enable_auth_method("approle")
    for role, policy in _POLICIES.items():
        client.auth.approle.create_or_update_approle(
            role, token_policies=[policy], token_ttl=_LOGIN, token_max_ttl=_LONG
        )
    if cluster is not None:
        _let_service_accounts_in(client, cluster)
    return replace(keys, token=_token(client, ROLE), reader=_token(client, READING))


def _let_service_accounts_in(client: hvac.Client, cluster: Cluster) -> None:
    client.sys.enable_auth_method("kubernetes")
    client.auth.kubernetes.configure(
        kubernetes_host=cluster.address,
        kubernetes_ca_cert=cluster.authority,
        token_reviewer_jwt=cluster.reviewer_token,
        disable_local_ca_jwt=True,
    )
    for role, policy in _POLICIES.items():
        client.auth.kubernetes.create_role(
            role,
            bound_service_account_names=role,
            bound_service_account_namespaces="*",
            policies=[policy],
            ttl=_LOGIN,
        )


def _token(client: hvac.Client, policy: str) -> str:
    made = client.auth.token.create(
        policies=[policy], ttl=_LONG, display_name=policy, no_parent=True
    )
    return str(made["auth"]["client_token"])
