"""Which commits a weights Job must leave on the volume, so that the record may still promise them.

Pure. What a Job may remove is taken from the record before it starts, and a run that is
interrupted then, or a Job that fails, would leave it so: complete commits would be fetched again.
"""

from __future__ import annotations

from dataclasses import replace

from vllm_flows.claims import room_needed
from vllm_flows.observed import Verdict, WeightsClaim
from vllm_flows.weights_manifests import WeightsOrder

_MOST = 8
"""Commits that are kept so: the record describes each, and an annotation is no place for many."""
_USABLE_PERCENT = 90
"""Of a volume's size: file systems take some for themselves."""


def keeping(order: WeightsOrder, verdict: Verdict, claim: WeightsClaim) -> WeightsOrder:
    """Return the order with every complete commit among those to keep.

    When they would not all fit beside the new one, it is the one served before; else none. What
    the volume's disk really has, the Job alone can see.
    """
    there = set(claim.complete) - {verdict.commit}
    for more in (there, there & {order.before}):
        keep = more.union(order.keep)
        needed = room_needed(verdict, claim, keep)
        if len(keep) <= _MOST and needed * 100 <= order.budget * _USABLE_PERCENT:
            return replace(order, keep=tuple(sorted(keep)))
    return order
