"""What the controller decides, as functions of the objects: nothing here asks anybody.

Source of the rules and words: the External Secrets Operator's controllers of ExternalSecrets
and stores (version 2).
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime, timedelta
from typing import Any

Object = dict[str, Any]

DATA_HASH = "reconcile.external-secrets.io/data-hash"
"""The annotation that says which data the controller wrote."""
MANAGED = "reconcile.external-secrets.io/managed"
"""The label of every Secret that an ExternalSecret has."""
CREATED_BY = "reconcile.external-secrets.io/created-by"
"""The label that says which ExternalSecret owns a Secret."""
FINALIZER = "externalsecrets.external-secrets.io/externalsecret-cleanup"
"""What holds up the end of an ExternalSecret until the controller has let it go."""

_FIRST_RETRY_SECONDS = 1.0
_LAST_RETRY_SECONDS = 420.0
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)")
_MANAGER = "externalsecrets.external-secrets.io/"
_LONGEST_MANAGER = 63


def seconds(duration: str) -> float:
    """Return a duration as Go writes it ("1h0m0s", "90s") in seconds; ValueError for others."""
    if duration == "0":
        return 0.0
    parts = _PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"invalid duration {duration!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def digest(content: object) -> str:
    """Return the digest of data; the operator's own has the same form and other digits."""
    return hashlib.sha3_224(json.dumps(content, sort_keys=True).encode()).hexdigest()


def version_of(metadata: Object) -> str:
    """Return what changes when an object's spec, labels or annotations change."""
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return f"{metadata.get('generation', 0)}-{digest([annotations, labels])}"


def target_of(external_secret: Object) -> str:
    """Return the name of the Secret an ExternalSecret makes."""
    target = external_secret["spec"].get("target") or {}
    return str(target.get("name") or external_secret["metadata"]["name"])


def policy_of(external_secret: Object, kind: str) -> str:
    """Return its `creationPolicy` or `deletionPolicy`."""
    otherwise = {"creationPolicy": "Owner", "deletionPolicy": "Retain"}[kind]
    return str((external_secret["spec"].get("target") or {}).get(kind) or otherwise)


def field_manager(name: str) -> str:
    """Return the name under which the fields of this ExternalSecret's Secret are written."""
    manager = _MANAGER + name
    if len(manager) > _LONGEST_MANAGER:
        return f"{_MANAGER}sha3/{hashlib.sha3_224(name.encode()).hexdigest()}"
    return manager


def refresh_is_due(external_secret: Object, now: datetime) -> bool:
    """Whether the values are to be read again, by its refresh policy, interval and changes.

    With an interval of 0 they are read once: then a change of an annotation is not heard
    either.
    """
    status, spec = external_secret.get("status") or {}, external_secret["spec"]
    synced, refreshed = status.get("syncedResourceVersion", ""), _moment(status.get("refreshTime"))
    policy, interval = spec.get("refreshPolicy", "Periodic"), _interval(spec)
    if policy == "CreatedOnce":
        return not synced or refreshed is None
    if policy == "Periodic" and interval <= 0 and synced:
        return False
    if synced != version_of(external_secret["metadata"]) or refreshed is None:
        return True
    if policy == "OnChange":
        return False
    return refreshed > now or refreshed + timedelta(seconds=interval) < now


def next_refresh(external_secret: Object, now: datetime) -> float | None:
    """Return the seconds until the values are read again; None when only a change does it."""
    interval = _interval(external_secret["spec"])
    refreshed = _moment((external_secret.get("status") or {}).get("refreshTime"))
    if interval <= 0:
        return None
    if refreshed is None:
        return interval
    return max(0.0, interval - max(0.0, (now - refreshed).total_seconds()))


def secret_is_valid(secret: Object | None, creation_policy: str) -> bool:
    """Whether a Secret is as the controller left it; an orphan's is its own affair."""
    if creation_policy == "Orphan":
        return True
    if secret is None:
        return False
    metadata = secret["metadata"]
    managed = (metadata.get("labels") or {}).get(MANAGED) == "true"
    written = (metadata.get("annotations") or {}).get(DATA_HASH)
    return managed and written == digest(secret.get("data") or {})


def retry_after(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row: 1, 2, 4, … up to 7 minutes."""
    return float(min(_LAST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 2 ** (failures - 1)))


def with_condition(
    conditions: list[Object], *, ready: bool, reason: str, message: str, now: str
) -> list[Object]:
    """Return the conditions with `Ready` as it is now; its time changes with its status only."""
    status = "True" if ready else "False"
    old = next((one for one in conditions if one["type"] == "Ready"), None)
    since = old["lastTransitionTime"] if old and old["status"] == status else now
    condition = {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    }
    return [*(one for one in conditions if one["type"] != "Ready"), condition]


def is_ready(store: Object) -> bool:
    """Whether a store's `Ready` condition is true."""
    conditions = (store.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def serves_namespace(store: Object, namespace: str) -> bool:
    """Whether a ClusterSecretStore may be used from a namespace, by its `conditions`."""
    conditions = store["spec"].get("conditions") or []
    return not conditions or any(namespace in (one.get("namespaces") or []) for one in conditions)


def _interval(spec: Object) -> float:
    return seconds(spec.get("refreshInterval") or "1h0m0s")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
