"""Look for what somebody else changed on the objects of the release."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vllm_flows.cluster import KINDS, Cluster
from vllm_flows.drift import Drift, drift_of
from vllm_flows.errors import ClusterError, NoRightError

Object = Mapping[str, Any]

_FEW = 3
"""So many objects of a kind are asked for one by one; more are listed."""


def changed_outside(cluster: Cluster, manifest: Iterable[Object]) -> tuple[Drift, ...]:
    """Compare the release's manifest with the cluster.

    Where the texts differ, the API itself says by a dry run whether applying the manifest would
    change anything. Kinds that this account may not read are left out.
    """
    by_kind: dict[str, list[Object]] = defaultdict(list)
    for item in manifest:
        if item["kind"] in KINDS:
            by_kind[str(item["kind"])].append(item)
    found = [drift for kind, items in by_kind.items() for drift in _of_kind(cluster, kind, items)]
    return tuple(sorted(found, key=lambda drift: (drift.kind, drift.name)))


def _of_kind(cluster: Cluster, kind: str, items: Sequence[Object]) -> Iterable[Drift]:
    try:
        there = _there(cluster, kind, items)
    except NoRightError:
        return
    for item in items:
        live = there.get(item["metadata"]["name"])
        drift = drift_of(item, live)
        if drift and live is not None:
            drift = drift_of(_as_applied(cluster, item), live)
        if drift:
            yield drift


def _there(cluster: Cluster, kind: str, items: Sequence[Object]) -> dict[str, Object]:
    names = [str(item["metadata"]["name"]) for item in items]
    if len(names) > _FEW:
        return {str(one["metadata"]["name"]): one for one in cluster.find(kind)}
    asked = {name: cluster.get(kind, name) for name in names}
    return {name: one for name, one in asked.items() if one is not None}


def _as_applied(cluster: Cluster, item: Object) -> Object:
    """Return the manifest's object in the API's own spelling; as it is where the API refuses it."""
    try:
        return _narrowed(item, cluster.dry_run(item))
    except ClusterError:
        return item


def _narrowed(item: Object, applied: Object) -> dict[str, Any]:
    """Keep of what the API would store only what the manifest speaks of."""
    return {
        key: _narrowed(value, applied.get(key) or {})
        if isinstance(value, Mapping) and isinstance(applied.get(key), Mapping)
        else applied.get(key, value)
        for key, value in item.items()
    }
