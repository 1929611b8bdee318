"""Who may take the lock: decisions about the Lease, and what to write into it. No I/O.

The Lease's `leaseTransitions` counts how often the lock was taken: with the holder's name it tells
one hold from every other.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vllm_flows.errors import LockedError, LockLostError
from vllm_flows.lease_holder import Machine, is_gone, shown
from vllm_flows.observed import MANAGED_BY
from vllm_flows.sizes import human_seconds

Object = dict[str, Any]
"""A Kubernetes object as its JSON reads."""

LEASE = "vllm-flows"
"""The Lease's name; there is one per namespace."""
DURATION_SECONDS = 30
"""How long a hold lasts after its last renewal."""
GRACE_SECONDS = 5.0
"""By how much two machines' clocks may differ without one taking what the other still holds."""


@dataclass(frozen=True)
class Take:
    """The lock may be taken; `after` is the holder who left it behind, "" when it was free.

    `since` and `renewed` are when that one took it and renewed it last, as far as it says.
    """

    after: str = ""
    since: datetime | None = field(default=None, compare=False)
    renewed: datetime | None = field(default=None, compare=False)

    def told(self, now: datetime) -> str:
        """Say when it was taken and renewed last."""
        moments = [("since", self.since), ("last renewed", self.renewed)]
        return ", ".join(f"{word} {_ago(moment, now)}" for word, moment in moments if moment)


@dataclass(frozen=True)
class Held:
    """Another run has the lock.

    `by` is its name for people, `since` when it took it. `renewed_seconds_ago` is negative when its
    clock is ahead of ours. In `expires_in` seconds, unless renewed, it is free.
    """

    by: str
    since: datetime | None
    renewed_seconds_ago: float
    expires_in: float

    def refusal(self, namespace: str, now: datetime) -> LockedError:
        """Return the error that tells of the holder, and what to do."""
        return LockedError(
            f"namespace {namespace} is locked: held by {self.by}",
            why=self.told(now),
            next_command=self._way_out(namespace),
        )

    def told(self, now: datetime) -> str:
        """Say since when it is held, and when it was renewed last."""
        since = f"since {_ago(self.since, now)}, " if self.since else ""
        return f"{since}{self._renewal()}"

    def _renewal(self) -> str:
        if self._clock_is_ahead():
            ahead = human_seconds(-self.renewed_seconds_ago)
            return f"last renewed {ahead} in the future: its clock or this machine's is wrong"
        ago = human_seconds(max(0.0, self.renewed_seconds_ago))
        ends = human_seconds(self.expires_in)
        return f"last renewed {ago} ago; if that run is gone, the lock is free in {ends}"

    def _way_out(self, namespace: str) -> str:
        lease = f"lease {LEASE} -n {namespace}"
        if self._clock_is_ahead():
            return f"kubectl delete {lease}   (only when that run is gone)"
        return f"kubectl get {lease} -o yaml   (run this again when that run has ended)"

    def _clock_is_ahead(self) -> bool:
        return self.renewed_seconds_ago < -GRACE_SECONDS


def loss(namespace: str, why: str) -> LockLostError:
    """Return the error for a run that may not change anything any more."""
    return LockLostError(
        f"this run no longer holds the lock of namespace {namespace}",
        why=f"{why}; nothing more is applied",
        next_command=f"kubectl get lease {LEASE} -n {namespace} -o yaml"
        "   (run this again when it has no holder)",
    )


def decide(lease: Object | None, me: str, now: datetime, here: Machine) -> Take | Held:
    """Say whether the run named `me` may take the lock, by the Lease as it was read.

    Free are a Lease without a holder, our own, one whose holder is gone from this machine, and one
    that expired: its `renewTime` plus duration is more than `GRACE_SECONDS` before `now`. `now` is
    this machine's time and `renewTime` the holder's. A command that does not wait cannot do
    better; so with clocks further apart than the grace, a hold may be taken that is still renewed
    (the holder learns of it when it checks), or be kept too long.
    """
    spec = (lease or {}).get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    if holder in {"", me}:
        return Take()
    since, renewed_at = _moment(spec, "acquireTime"), _moment(spec, "renewTime")
    left_behind = Take(shown(holder), since, renewed_at)
    if is_gone(holder, here) or renewed_at is None:
        return left_behind
    ago = (now - renewed_at).total_seconds()
    left = (spec.get("leaseDurationSeconds") or DURATION_SECONDS) + GRACE_SECONDS - ago
    return left_behind if left < 0 else Held(shown(holder), since, ago, left)


def taken(lease: Object | None, namespace: str, me: str, now: datetime) -> Object:
    """Return the Lease with `me` as its holder from now on; a new one when there was none."""
    body = copy.deepcopy(lease) if lease else _new(namespace)
    spec = body.get("spec") or {}
    body["spec"] = {
        "holderIdentity": me,
        "leaseDurationSeconds": DURATION_SECONDS,
        "acquireTime": _written(now),
        "renewTime": _written(now),
        "leaseTransitions": (spec.get("leaseTransitions") or 0) + 1,
    }
    return body


def renewed(lease: Object, now: datetime) -> Object:
    """Return the Lease as its holder renews it."""
    return {**lease, "spec": {**lease["spec"], "renewTime": _written(now)}}


def released(lease: Object, now: datetime) -> Object:
    """Return the Lease without a holder; its count of transitions stays."""
    spec = {key: value for key, value in lease["spec"].items() if key != "holderIdentity"}
    return {**lease, "spec": {**spec, "renewTime": _written(now)}}


def same_hold(lease: Object | None, held: Object) -> bool:
    """Say whether the Lease, read anew, is still in the hold that `held` stands for."""
    return _hold(lease or {}) == _hold(held)


def _hold(lease: Object) -> tuple[object, object]:
    spec = lease.get("spec") or {}
    return spec.get("holderIdentity"), spec.get("leaseTransitions")


def _new(namespace: str) -> Object:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": namespace, "labels": dict(MANAGED_BY)},
    }


def _written(moment: datetime) -> str:
    """Write a time as the API's MicroTime: UTC, with six digits after the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(spec: Object, key: str) -> datetime | None:
    return datetime.fromisoformat(spec[key]) if spec.get(key) else None


def _ago(moment: datetime, now: datetime) -> str:
    ago = human_seconds(max(0.0, (now - moment).total_seconds()))
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC ({ago})"
