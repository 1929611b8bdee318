"""What it means that Vault gives no HTTP answer at all. Pure."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from vllm_flows.errors import ConfigurationError, VaultUnavailableError, VllmFlowsError

_PLAIN = ("wrong_version_number", "record layer failure", "unknown_protocol", "http_request")
"""What OpenSSL says when the other side does not speak TLS."""


def explain_silence(error: BaseException, address: str) -> VllmFlowsError:
    """Turn what a connection failed with into our error, by what lies at its bottom."""
    chain = list(_causes(error))
    tls = next((one for one in chain if isinstance(one, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return _untrusted(tls, address)
    if tls and any(word in str(tls).lower().replace(" ", "_") for word in _PLAIN_WORDS):
        return ConfigurationError(
            f"Vault at {address} speaks http, not https",
            why="the connection would be readable by all on the way",
            next_command=f"export VLLM_VAULT_ADDRESS=http{address.removeprefix('https')}   "
            "(where that is meant so)",
        )
    why = str(chain[-1]).splitlines()
    return VaultUnavailableError(
        f"Vault at {address} does not answer",
        why=why[0] if why else type(chain[-1]).__name__,
        next_command="vault status   (VLLM_VAULT_ADDRESS or VAULT_ADDR has the address)",
    )


_PLAIN_WORDS = tuple(word.replace(" ", "_") for word in _PLAIN)


def _untrusted(error: ssl.SSLCertVerificationError, address: str) -> ConfigurationError:
    reason = error.verify_message or error.reason or "it cannot be verified"
    advice = "export VLLM_VAULT_CA_CERT=FILE   (the CA of its certificate, in PEM)"
    if "mismatch" in reason.lower() or "doesn't match" in reason.lower():
        advice = "export VLLM_VAULT_ADDRESS=…   (with a name that its certificate has)"
    if "expired" in reason.lower():
        advice = "renew the certificate of Vault   (whoever runs it)"
    return ConfigurationError(
        f"the certificate of Vault at {address} is not trusted", why=reason, next_command=advice
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and what it was made from, the innermost last: urllib3 nests three ways."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        yield found
        seen.add(id(found))
        inner = [getattr(found, "reason", None), *found.args, found.__cause__, found.__context__]
        found = next((one for one in inner if isinstance(one, BaseException)), None)
