"""Deployments that another chart lets select other pods. Pure.

Kubernetes never changes the selector of a Deployment. Such a one is deleted without its
ReplicaSets, which serve on, and these are given the labels that the new one selects: it takes them
for older ones of its own and replaces their pods as in any other change. Tried with Kubernetes 1.36
and charts 0.1.8 and 0.1.12, between which the selectors differ (since 0.1.10).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vllm_flows.errors import ReleaseError

Object = dict[str, Any]
Labels = Mapping[str, str]

LEFT_LABEL = "vllm-flows.io/left"
"""On ReplicaSets whose Deployment was deleted without them, or is about to be."""
HASH_LABEL = "pod-template-hash"
"""On ReplicaSets, in what they select, and on their pods, by the Deployment controller."""


def selectors(deployments: Iterable[Object]) -> dict[str, Labels]:
    """Return the labels that each Deployment selects, by its name."""
    return {str(one["metadata"]["name"]): selected(one) for one in deployments}


def selected(owner: Object) -> Labels:
    """Return the labels that a Deployment or a ReplicaSet selects."""
    found: Labels = owner["spec"]["selector"].get("matchLabels") or {}
    return found


def to_replace(there: Mapping[str, Labels], wanted: Mapping[str, Labels]) -> tuple[str, ...]:
    """Return the Deployments that are there and have to be made anew to select what is wanted.

    Raises ReleaseError where their pods cannot be handed over.
    """
    found = sorted(name for name in there if there[name] != wanted.get(name, there[name]))
    for name in found:
        old, new = there[name], wanted[name]
        changed = [key for key in old.keys() & new.keys() if old[key] != new[key]]
        if changed:
            raise _not_handed_over(name, sorted(changed))
    return tuple(found)


def _not_handed_over(name: str, changed: Iterable[str]) -> ReleaseError:
    # A pod with another value of a label that its ReplicaSet selects is no longer that one's.
    return ReleaseError(
        f"the chart cannot replace Deployment {name} while it serves",
        why=f"it selects other values of {', '.join(changed)}: its pods would be nobody's",
        next_command="stay with the chart that is deployed; or vllm-flows uninstall, then "
        "set-hf-token and set-api-key where used, then this again (weights are kept)",
    )


def deployment_of(replica_set: Object) -> str:
    """Return the name of the Deployment that made the ReplicaSet, be it gone."""
    metadata = replica_set["metadata"]
    digest = (metadata.get("labels") or {}).get(HASH_LABEL, "")
    return str(metadata["name"]).removesuffix(f"-{digest}")


def left_alone(replica_sets: Iterable[Object]) -> list[Object]:
    """Return the ReplicaSets that no Deployment owns, those with most replicas last."""
    return sorted(
        (one for one in replica_sets if not _controllers(one)),
        key=lambda one: int(one["spec"].get("replicas", 1)),
    )


def owned_by(deployment: Object, replica_sets: Iterable[Object]) -> list[Object]:
    """Return the ReplicaSets of a Deployment."""
    uid = deployment["metadata"]["uid"]
    return [one for one in replica_sets if uid in _controllers(one)]


def _controllers(item: Object) -> set[str]:
    owners = item["metadata"].get("ownerReferences") or []
    return {str(owner["uid"]) for owner in owners if owner.get("controller")}
