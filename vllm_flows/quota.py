"""What the namespace's ResourceQuotas leave for new pods. Pure.

A quota counts the requests of all pods that are not over, wherever they run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from vllm_flows.errors import QuotaError
from vllm_flows.nodes import GPU, Resources, requests_of
from vllm_flows.obstacles import Demand, shown
from vllm_flows.placement import Placement
from vllm_flows.quantities import parse_quantity

Object = Mapping[str, Any]

_COUNTS = {
    "cpu": "cpu",
    "requests.cpu": "cpu",
    "memory": "memory",
    "requests.memory": "memory",
    f"requests.{GPU}": GPU,
    "pods": "pods",
    "count/pods": "pods",
}
"""What a quota calls the resources of a pod."""
_OURS = {"NotTerminating", "NotBestEffort"}
"""Scopes that our pods are in, all of which have requests and no deadline; in others none is."""


def beyond_quota(
    needs: Resources, quotas: Iterable[Object], freed: Resources, namespace: str, model: str
) -> QuotaError | None:
    """Return the problem that a quota leaves too little for all of `needs`, None when none does.

    `freed` is what pods that end in the run hold now.
    """
    for quota in quotas:
        for name, left, wanted in _lacks(quota, needs, freed):
            kind = _COUNTS[name]
            return QuotaError(
                "the namespace's quota has no room for it",
                why=f"ResourceQuota {quota['metadata']['name']} leaves {shown(kind, left)} "
                f"{name}, {shown(kind, wanted)} needed",
                next_command=f"kubectl -n {namespace} describe resourcequota   (have it raised; "
                "or lower replicaCount or the requests in models.yaml, or remove a model)",
                model=model,
            )
    return None


def _lacks(
    quota: Object, needs: Resources, freed: Resources
) -> Iterable[tuple[str, Decimal, Decimal]]:
    """Yield what the quota has too little of, with what it leaves and what is needed."""
    spec, status = quota.get("spec") or {}, quota.get("status") or {}
    if spec.get("scopeSelector") or not _OURS.issuperset(spec.get("scopes") or ()):
        return
    used = status.get("used") or {}
    for name, hard in sorted((status.get("hard") or spec.get("hard") or {}).items()):
        kind = _COUNTS.get(name, "")
        wanted = needs.get(kind, Decimal(0))
        left = parse_quantity(str(hard)) - parse_quantity(str(used.get(name, "0")))
        left += freed.get(kind, Decimal(0))
        if wanted > max(left, Decimal(0)):
            yield name, left, wanted


def within_quotas(
    found: Mapping[str, Placement],
    demands: Sequence[Demand],
    quotas: Sequence[Object],
    ended: Iterable[Object],
) -> dict[str, Placement]:
    """Return the placements without those that a quota forbids; `ended` are pods that end."""
    free: dict[str, Decimal] = defaultdict(Decimal)
    for pod in ended:
        for name, amount in requests_of(pod).items():
            free[name] += amount
    allowed = dict(found)
    for demand in demands:
        total = {name: amount * demand.replicas for name, amount in demand.needs.resources.items()}
        problem = beyond_quota(total, quotas, free, demand.namespace, demand.model)
        if problem:
            allowed[demand.model] = Placement(problem=problem)
        else:
            for name, amount in total.items():
                free[name] -= amount
    return allowed
