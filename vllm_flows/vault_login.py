"""Logging in to Vault, and looking after the token."""

from __future__ import annotations

from contextlib import suppress

from vllm_flows.errors import VllmFlowsError
from vllm_flows.redaction import collect
from vllm_flows.vault_access import Access, AppRoleLogin, KubernetesLogin, TokenLogin
from vllm_flows.vault_client import Client, RefusedError, ask, data_of, unready
from vllm_flows.vault_refusals import login_refused, not_accepted, not_unwrapped
from vllm_flows.vault_tokens import WORK_SECONDS, Token, refused_root

_RENEWED_SECONDS = 2 * WORK_SECONDS
_unwrapped: dict[str, str] = {}
"""SecretIDs by their wrapping tokens, which give them out once: this process may log in again."""


def log_in(access: Access, client: Client) -> None:
    """Let the client have a token. Raises as the methods of Vault do."""
    login = access.login
    match login:
        case TokenLogin():
            client.token = login.token
            return
        case KubernetesLogin():
            method = "kubernetes"
            call = client.auth.kubernetes.login
            given = {"role": login.role, "jwt": login.jwt}
        case AppRoleLogin():
            method = "approle"
            call = client.auth.approle.login
            given = {"role_id": login.role_id, "secret_id": _secret_id(access, client, login)}
    try:
        ask(access, lambda: call(**given, mount_point=login.mount))
    except RefusedError as error:
        raise (
            unready(access) or login_refused(access.address, method, login.mount, error.refusal)
        ) from None
    collect(client.token)


def log_out(access: Access, client: Client) -> None:
    """End the token that a login made; one that was given lives on."""
    if client.token and not isinstance(access.login, TokenLogin):
        with suppress(VllmFlowsError, RefusedError):
            ask(access, client.auth.token.revoke_self)


def looked_after(access: Access, client: Client) -> Token:
    """Return what the token is, renewed when it would end within the work."""
    try:
        token = _looked_up(access, client)
    except RefusedError as error:
        source = access.login.source if isinstance(access.login, TokenLogin) else "this login"
        told = not_accepted(access.address, source, error.refusal, access.namespace)
        raise (unready(access) or told) from None
    refused = refused_root(token, allowed=access.allow_root)
    if refused:
        raise refused
    if token.ends_within_work and token.renewable:
        with suppress(RefusedError):  # what is left of it may do; its end is told when it comes
            ask(access, lambda: client.auth.token.renew_self(increment=f"{_RENEWED_SECONDS}s"))
            token = _looked_up(access, client)
    return token


def _looked_up(access: Access, client: Client) -> Token:
    return Token.of(data_of(access, ask(access, client.auth.token.lookup_self)))


def _secret_id(access: Access, client: Client, login: AppRoleLogin) -> str:
    if not login.wrapped:
        return login.secret_id
    if login.secret_id not in _unwrapped:
        client.token = login.secret_id  # the wrapping token is a token for this one request
        try:
            answer = ask(access, client.sys.unwrap)
        except RefusedError as error:
            raise (
                unready(access) or not_unwrapped(access.address, login.mount, error.refusal)
            ) from None
        finally:
            client.token = ""
        secret_id = str(data_of(access, answer).get("secret_id", ""))
        collect(secret_id)
        _unwrapped[login.secret_id] = secret_id
    return _unwrapped[login.secret_id]
