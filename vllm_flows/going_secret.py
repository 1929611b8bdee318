"""A secret whose deletion was begun and has not come to its end: it is there, and will not stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vllm_flows.cluster import Cluster
from vllm_flows.credentials import Place
from vllm_flows.external_secrets import is_ours
from vllm_flows.syncing import Operator

_ORPHANING = "orphan"
"""The finalizer by which the API leaves what an object owned (propagation policy Orphan)."""


def is_going(external: Mapping[str, Any] | None) -> bool:
    """Say whether our ExternalSecret is being deleted, and its Secret with it. Pure."""
    if external is None or not is_ours(external):
        return False
    metadata = external["metadata"]
    stays = _ORPHANING in (metadata.get("finalizers") or ())
    return bool(metadata.get("deletionTimestamp")) and not stays


def told_going(place: Place) -> str:
    """Say what it means. Pure."""
    return (
        f"ExternalSecret {place.external} is being deleted, and Secret {place.secret} goes with "
        f"it: there will be no {place.what}"
    )


def ending(place: Place) -> str:
    """Return the command that brings the deletion to its end. Pure."""
    verb = place.verb.replace("set-", "delete-")
    return f"vllm-flows {verb}   (then vllm-flows {place.verb} where one is wanted)"


def notes_of_going(cluster: Cluster, places: Iterable[Place]) -> tuple[str, ...]:
    """Say of each of these secrets that is about to go what ends that. Raises ClusterError."""
    wanted = list(places)
    operator = Operator.of(cluster) if wanted else None
    return tuple(
        f"{told_going(place)}; next: {ending(place)}"
        for place in wanted
        if operator and is_going(operator.external(place.external))
    )
