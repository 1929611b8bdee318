"""Asking Vault: the only module that imports `hvac`.

Requests have finite timeouts. What Vault refuses is a RefusedError, for those who know what they
asked; that it does not answer is one of our errors, with the next command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

import hvac
from hvac import exceptions

from vllm_flows.errors import VllmFlowsError
from vllm_flows.retrying import TryAgainError, within
from vllm_flows.vault_access import Access
from vllm_flows.vault_refusals import NOT_FOUND, Refusal, no_vault, redirected, unusable_health
from vllm_flows.vault_silence import explain_silence

_SECONDS = (5.0, 10.0)
"""To connect, and between two bytes of an answer."""
_WHOLE_ANSWER_SECONDS = 20.0
_STATUS: Mapping[type[exceptions.VaultError], int] = {
    exceptions.InvalidRequest: 400,
    exceptions.Unauthorized: 401,
    exceptions.Forbidden: 403,
    exceptions.InvalidPath: NOT_FOUND,
    exceptions.RateLimitExceeded: 429,
    exceptions.InternalServerError: 500,
    exceptions.VaultNotInitialized: 501,
    exceptions.BadGateway: 502,
    exceptions.VaultDown: 503,
}

Client = hvac.Client


class RefusedError(Exception):
    """Vault answered, and not with success; `body` is its JSON, where it had one."""

    def __init__(self, refusal: Refusal, body: Mapping[str, Any]) -> None:
        super().__init__(refusal.status)
        self.refusal = refusal
        self.body = body


def client_of(access: Access) -> hvac.Client:
    """Return a client that has no token yet; nothing is asked."""
    # An empty token: with None the library would look for one itself.
    client = hvac.Client(
        access.address,
        token="",
        verify=access.ca_cert or True,
        timeout=_SECONDS,
        namespace=access.namespace or None,
    )
    client.session.hooks["response"].append(partial(_stay_secret, access))
    return client


def _stay_secret(access: Access, answer: Any, **_: object) -> None:  # noqa: ANN401 -- of requests, which hvac brings
    """Raise VaultError for a redirect from https to anything else: the token would go there."""
    if not answer.is_redirect or urlsplit(answer.url).scheme != "https":
        return
    target = urlsplit(urljoin(answer.url, answer.headers["location"]))
    if target.scheme != "https":
        raise redirected(access.address, f"{target.scheme}://{target.hostname}")


def ask(access: Access, call: Callable[[], Any]) -> Any:  # noqa: ANN401 -- untyped library
    """Return the answer. Raises RefusedError, or ours when there is none."""
    try:
        return within(_WHOLE_ANSWER_SECONDS, call)
    except exceptions.VaultError as error:
        body = error.json if isinstance(error.json, dict) else {}
        text = "\n".join(map(str, error.errors or ())) or str(error.text or "")
        raise RefusedError(Refusal(_STATUS.get(type(error), 0), text), body) from None
    except (TryAgainError, OSError) as error:
        raise explain_silence(error, access.address) from None


def data_of(access: Access, answer: Any) -> Mapping[str, Any]:  # noqa: ANN401 -- untyped library
    """Return the `data` of an answer; raises VaultError when what answers is no Vault."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if isinstance(data, dict):
        return data
    raise no_vault(access.address)


def health(access: Access) -> Mapping[str, Any]:
    """Return what `sys/health` says without a login: initialized, sealed, standby, version.

    Empty where what answers says no such thing. Raises as the methods of Vault do.
    """
    client = client_of(access)
    try:
        answer = ask(access, lambda: client.sys.read_health_status(method="GET"))
        found = answer if isinstance(answer, dict) else answer.json()
    except (RefusedError, ValueError):
        return {}
    finally:
        client.adapter.close()
    return found if isinstance(found, dict) else {}


def unready(access: Access) -> VllmFlowsError | None:
    """Return what keeps all of Vault from answering, when that is why it refused."""
    return unusable_health(health(access), access.address)
