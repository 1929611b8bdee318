"""Taking our secrets out of what somebody else wrote, by their value."""

from __future__ import annotations

from collections.abc import Callable, Collection

from vllm_flows.credentials import Credential
from vllm_flows.errors import ConfigurationError, NoRightError
from vllm_flows.session import Session

_SHORTEST = 8
"""Characters; a shorter value would also stand in words."""


def secrets_at_hand(session: Session) -> tuple[bytes, ...]:
    """Return the Hub token and the API key, as far as this account may read them."""
    return tuple(
        found.value.encode()
        for read in (session.token, session.api_key)
        if (found := _permitted(read)) and len(found.value) >= _SHORTEST
    )


def redacted(line: bytes, secrets: Collection[bytes]) -> bytes:
    """Return the line with `***` in place of each secret."""
    for secret in secrets:
        line = line.replace(secret, b"***")
    return line


def _permitted(read: Callable[[], Credential | None]) -> Credential | None:
    try:
        return read()
    except (NoRightError, ConfigurationError):  # what cannot be read, or used, is not ours to hide
        return None
