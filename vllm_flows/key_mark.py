"""The mark of the API key on the pods that hold it: a keyed digest.

It is the same for the same key, whoever stored it, so a key that was changed anywhere is seen by
the next plan. Pods can be read by many: without the digest's own key, which stands in a Secret,
the mark tells nothing of the API key, not even to who guesses it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vllm_flows import manifests
from vllm_flows.cluster import Cluster

_DIGITS = 16
_KEY_BYTES = 32


@dataclass(frozen=True)
class Mark:
    """The digest, and its key (in hexadecimal) where the cluster does not hold that yet."""

    digest: str
    unsaved: str = field(default="", repr=False)


def mark_of(cluster: Cluster, value: str) -> Mark:
    """Return the value's mark, by the namespace's key or, where it has none, by a new one."""
    key = _key_in(cluster.get("Secret", manifests.DIGEST_KEY_SECRET))
    if key:
        return Mark(keyed_digest(value, key))
    key = secrets.token_hex(_KEY_BYTES)
    return Mark(keyed_digest(value, key), key)


def save(cluster: Cluster, mark: Mark) -> bool:
    """Store the digest's key where it is new; return whether it was."""
    if mark.unsaved:
        cluster.apply(
            manifests.secret(manifests.DIGEST_KEY_SECRET, manifests.DIGEST_KEY_KEY, mark.unsaved)
        )
    return bool(mark.unsaved)


def keyed_digest(value: str, key: str) -> str:
    """Return the first 64 bits of the HMAC-SHA256, in hexadecimal."""
    return hmac.new(key.encode(), value.encode(), hashlib.sha256).hexdigest()[:_DIGITS]


def _key_in(secret: Mapping[str, Any] | None) -> str:
    data = (secret or {}).get("data") or {}
    return base64.b64decode(data.get(manifests.DIGEST_KEY_KEY, "")).decode("ascii", "replace")
