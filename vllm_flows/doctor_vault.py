"""Judging where secrets are kept, and Vault: findings from what was seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_flows.doctor_findings import Finding, State, told
from vllm_flows.errors import VllmFlowsError
from vllm_flows.rights import Right, granting_external_secrets
from vllm_flows.secret_mode import Choice, Maker, Mode, Store, StoreState
from vllm_flows.vault_tokens import Token


def judge_kept(kept: Mapping[str, tuple[Maker, Choice, str]]) -> Finding:
    """Say by the Secret's name where each is kept and why, or who else makes it (the last)."""
    texts: dict[str, list[str]] = {}
    for secret, (maker, choice, owner) in kept.items():
        text = _where(choice) if maker is not Maker.OTHER else f"somebody else's ({owner})"
        texts.setdefault(text, []).append(secret)
    if len(texts) == 1:
        return Finding("secrets", State.OK, next(iter(texts)))
    text = "; ".join(f"{', '.join(secrets)}: {where}" for where, secrets in texts.items())
    both = {choice.mode for _, choice, _ in kept.values()} == set(Mode)
    fix = "vllm-flows move-secrets --to vault   (or --to kubernetes)" if both else ""
    return Finding("secrets", State.WARNING if both else State.OK, text, fix)


def _where(choice: Choice) -> str:
    place = "in Vault" if choice.mode is Mode.VAULT else "plain Secrets"
    return f"{place}: {choice.reason}"


def judge_sync(secret: str, external: str, why: str, namespace: str, *, made: bool) -> Finding:
    """Say that an ExternalSecret is not synced; `made` when the Secret is there all the same."""
    rest = "it keeps what it has" if made else "it is not there, and an install would stop"
    text = f"ExternalSecret {external} cannot bring Secret {secret} up to date ({why}); {rest}"
    fix = f"kubectl -n {namespace} describe externalsecret {external}"
    return Finding("secrets", State.WARNING if made else State.PROBLEM, text, fix)


def judge_elsewhere(secret: str, before: str, where: str, verb: str) -> Finding:
    """Say that a Secret is made from another place of Vault than the settings name."""
    text = f"Secret {secret} is made from {before}, and the settings name {where}"
    get = verb.replace("set-", "get-")
    fix = f"vllm-flows {get} | vllm-flows {verb} --stdin   (the old place keeps what it has)"
    return Finding("secrets", State.WARNING, text, fix)


def judge_external_rights(missing: Sequence[Right], namespace: str, user: str = "") -> Finding:
    """Say which rights to ExternalSecrets this account lacks; `user` is its name where known."""
    verbs = ", ".join(dict.fromkeys(right.verb for right in missing))
    text = f"this account may not {verbs} externalsecrets in {namespace}"
    return Finding("secrets", State.WARNING, text, granting_external_secrets(namespace, user))


def not_used(store: Store) -> Finding:
    """Say that nothing is kept in Vault, or that this account cannot know."""
    unknown = store.state is StoreState.UNKNOWN
    text = f", or not known: {store.told()}" if unknown else ": nothing is kept in it here"
    return Finding("vault", State.OK, f"not used{text}")


def judge_vault(address: str, health: Mapping[str, Any], token: Token) -> Finding:
    """Tell of a Vault that lets us in, and of a token that ends soon."""
    version = f"Vault {health['version']}" if health.get("version") else "Vault"
    text = f"{version} at {address}: {token.told()}"
    if token.is_root:
        fix = "vault token create -policy=vllm-flows"
        return Finding("vault", State.WARNING, f"{text}; a root token may do everything", fix)
    if token.ends_soon and not token.renewable:
        return Finding("vault", State.WARNING, text, "vault login")
    return Finding("vault", State.OK, text)


def vault_trouble(error: VllmFlowsError) -> Finding:
    """Say why Vault is of no use now; an install that stores nothing new does not need it."""
    found = told("vault", error, State.WARNING)
    return Finding(
        "vault", found.state, f"{found.found} (what the cluster has goes on working)", found.fix
    )


def login_not_tried(address: str) -> Finding:
    """Say that a login was left out that can be made once."""
    text = f"{address} answers; a wrapped SecretID can be used once, so the login was not tried"
    return Finding("vault", State.OK, text)
