"""Look for what somebody else changed on the objects of the release."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vllm_flows.cluster import KINDS, Cluster
from vllm_flows.drift import Drift, drift_of, with_repair
from vllm_flows.errors import ClusterError, ClusterUnavailableError, NoRightError

Object = Mapping[str, Any]

_FEW = 3
"""So many objects of a kind are asked for one by one; more are listed."""


def changed_outside(cluster: Cluster, manifests: Sequence[Iterable[Object]]) -> tuple[Drift, ...]:
    """Compare the cluster with what helm wrote: the manifests of its revisions, newest first.

    More than one are there when helm did not finish: it may have come to an object or not, so what
    is as in any of them nobody else changed. The last one is of a revision that was finished, and
    says what an object was changed from. Where the texts differ, the API itself says by a dry run
    whether applying the manifest would change anything. Kinds that this account may not read are
    left out.
    """
    newest, *earlier = [_by_name(manifest) for manifest in manifests]
    found = _differing(cluster, newest.values())
    for written in earlier:
        again = _differing(cluster, [item for key, item in written.items() if key in found])
        # What that does not know helm made new, or did not come to yet: nobody took it away.
        new = {key: drift for key, drift in found.items() if key not in written and drift.changes}
        found = again | new
    return tuple(sorted(found.values(), key=lambda drift: (drift.kind, drift.name)))


def _by_name(manifest: Iterable[Object]) -> dict[tuple[str, str], Object]:
    return {
        (str(item["kind"]), str(item["metadata"]["name"])): item
        for item in manifest
        if item["kind"] in KINDS
    }


def _differing(cluster: Cluster, items: Iterable[Object]) -> dict[tuple[str, str], Drift]:
    by_kind: dict[str, list[Object]] = defaultdict(list)
    for item in items:
        by_kind[str(item["kind"])].append(item)
    found = [drift for kind, items in by_kind.items() for drift in _of_kind(cluster, kind, items)]
    return {(drift.kind, drift.name): drift for drift in found}


def _of_kind(cluster: Cluster, kind: str, items: Sequence[Object]) -> Iterable[Drift]:
    try:
        there = _there(cluster, kind, items)
    except NoRightError:
        return
    for item in items:
        live = there.get(item["metadata"]["name"])
        drift = drift_of(item, live)
        if drift and live is not None:
            drift = _once_applied(cluster, item, live)
        if drift:
            yield drift


def _there(cluster: Cluster, kind: str, items: Sequence[Object]) -> Mapping[str, Object | None]:
    """Return the objects of these names; None, or nothing, for one that is gone."""
    names = [str(item["metadata"]["name"]) for item in items]
    if len(names) > _FEW:
        return {str(one["metadata"]["name"]): one for one in cluster.find(kind)}
    return {name: cluster.get(kind, name) for name in names}


def _once_applied(cluster: Cluster, item: Object, live: Object) -> Drift | None:
    """Compare with the manifest's object in the API's own spelling; as it is where it refuses it.

    A Service is refused of which somebody changed a port: the API finds ports by their numbers, and
    would have two of one name.
    """
    try:
        return drift_of(_narrowed(item, cluster.dry_run(item)), live)
    except (NoRightError, ClusterUnavailableError):
        return drift_of(item, live)
    except ClusterError:
        return with_repair(drift_of(item, live), item)


def _narrowed(item: Object, applied: Object) -> dict[str, Any]:
    """Keep of what the API would store only what the manifest speaks of."""
    return {
        key: _narrowed(value, applied.get(key) or {})
        if isinstance(value, Mapping) and isinstance(applied.get(key), Mapping)
        else applied.get(key, value)
        for key, value in item.items()
    }
