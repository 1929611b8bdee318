"""ExternalSecrets as data: the two of ours, whose a Secret is, and how far a sync is. Pure.

What the External Secrets Operator does with them is as its source has it (release 0.10 to 2.x):
an annotation that changes makes it sync at once, the condition `Ready` says in general what failed,
and an event of the reason `UpdateFailed` has the store's own words. With creationPolicy `Owner` it
takes over a Secret that is there, and an ExternalSecret that is deleted takes the Secret with it
unless it is orphaned; with deletionPolicy `Retain` what is gone from Vault stays in the Secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vllm_flows.observed import MANAGED_BY
from vllm_flows.secret_mode import Maker, condition

Object = Mapping[str, Any]

GROUP = "external-secrets.io"
KIND = "ExternalSecret"
FORCE_SYNC = "force-sync"
"""The annotation that its documentation changes to have a sync at once."""
REFRESH = "1m"
"""How soon what is changed in Vault itself is in the Secret."""
LEFT_METADATA = {
    "labels": {
        "reconcile.external-secrets.io/managed": None,
        "reconcile.external-secrets.io/created-by": None,
    },
    "annotations": {"reconcile.external-secrets.io/data-hash": None},
}
"""What the operator leaves on a Secret that is no longer its own, as a patch that removes it."""
_FAILED = "UpdateFailed"


def manifest(
    name: str, *, secret: str, key: str, version: str, store: str, path: str
) -> dict[str, Any]:
    """Return the ExternalSecret that makes a Secret's `key` from the same key at a Vault `path`."""
    return {
        "apiVersion": f"{GROUP}/{version}",
        "kind": KIND,
        "metadata": {"name": name, "labels": dict(MANAGED_BY)},
        "spec": {
            "refreshInterval": REFRESH,
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": store},
            "target": {
                "name": secret,
                "creationPolicy": "Owner",
                "deletionPolicy": "Retain",
                # Without a template the operator would copy our annotations, new ones each time.
                "template": {"metadata": {"labels": dict(MANAGED_BY)}},
            },
            "data": [{"secretKey": key, "remoteRef": {"key": path, "property": key}}],
        },
    }


def same_way(there: Object, wanted: Object) -> bool:
    """Say whether two ExternalSecrets read the same store, at the same place."""
    return read_from(there) == read_from(wanted)


def read_from(external: Object) -> str:
    """Say what an ExternalSecret reads, for people: keys, and the store that has them."""
    store = (external["spec"].get("secretStoreRef") or {}).get("name")
    return f"{', '.join(keys_of(external)) or 'other keys'} of ClusterSecretStore {store}"


def keys_of(external: Object) -> list[str]:
    """Return the keys of its store that an ExternalSecret reads one by one."""
    data = external["spec"].get("data") or ()
    return [str((one.get("remoteRef") or {}).get("key")) for one in data]


def is_ours(item: Object) -> bool:
    """Say whether an object carries our label."""
    return MANAGED_BY.items() <= (item["metadata"].get("labels") or {}).items()


def controller(secret: Object) -> str:
    """Name what keeps a Secret as it is, `ExternalSecret x`; "" for one that nothing does."""
    owners = secret["metadata"].get("ownerReferences") or ()
    return next((f"{one['kind']} {one['name']}" for one in owners if one.get("controller")), "")


def maker(secret: Object | None, external: Object | None, name: str) -> Maker:
    """Say who makes the Secret; `external` is the ExternalSecret called `name`.

    None for that also where this account may not look: then what controls the Secret tells.
    """
    if external is not None:
        return Maker.SYNCED if is_ours(external) else Maker.OTHER
    if secret is None:
        return Maker.NOBODY
    if not is_ours(secret):
        return Maker.OTHER
    owner = controller(secret)
    if not owner:
        return Maker.US
    return Maker.SYNCED if owner == f"{KIND} {name}" else Maker.OTHER


def synced_version(external: Object | None) -> str:
    """Return which version of the ExternalSecret made the Secret last; "" when none has yet.

    The operator makes it of the generation, the labels and the annotations; a sync that fails keeps
    it.
    """
    return str(((external or {}).get("status") or {}).get("syncedResourceVersion") or "")


def is_synced(external: Object | None, before: str = "") -> bool:
    """Say whether the last sync went well, with the spec of now, and is not that of `before`."""
    if external is None or condition(external).get("status") != "True":
        return False
    version, generation = synced_version(external), external["metadata"].get("generation")
    return version != before and version.startswith(f"{generation}-")


def is_left(secret: Object) -> bool:
    """Say whether the operator's marks are still on a Secret."""
    labels = secret["metadata"].get("labels") or {}
    return not LEFT_METADATA["labels"].keys().isdisjoint(labels)


def failure(external: Object, events: Iterable[Object]) -> str:
    """Return why the ExternalSecret makes no Secret; "" while nothing has failed.

    `events` are those of the object; the newest failure has the store's own words.
    """
    ready = condition(external)
    if ready.get("status") != "False":
        return ""
    failed = [one for one in events if one.get("reason") == _FAILED]
    newest = max(failed, key=_moment, default={})
    told = [str(ready.get("message") or ready.get("reason") or ""), str(newest.get("message", ""))]
    return ": ".join(" ".join(one.split()) for one in told if one)


def _moment(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return max(str(one or "")[:19] for one in times)
