"""What keeps others from changing a namespace, and taking away what a dead run left of it.

The rules are those by which a run takes over by itself: `lease_rules` for the lock, `release_rules`
for a release that Helm left unfinished.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from vllm_flows.cluster import Cluster
from vllm_flows.errors import ConflictError, LockedError
from vllm_flows.guarding import unguarded
from vllm_flows.helm_lock import NOT_ITS_RUN
from vllm_flows.lease import wall_clock
from vllm_flows.lease_holder import this_machine
from vllm_flows.lease_rules import LEASE, Held, Take, decide, released
from vllm_flows.observed import Release
from vllm_flows.release_rules import RELEASE_ACTIONS, ReleaseAction, wait_before_unlock
from vllm_flows.session import Session
from vllm_flows.sizes import human_seconds

_TRIES = 5


@dataclass(frozen=True)
class Locks:
    """What stands in the way: the lock, and the release.

    `lock` is who holds it, or whom it was left by. The helm that left the release unfinished may
    still be at work for so many `seconds`; one of this machine surely is, which `ending` ends.
    """

    namespace: str
    lock: Held | Take
    release: Release
    seconds: float
    ending: str = ""

    @property
    def pending(self) -> bool:
        """Say whether a helm run left the release so that no other can begin."""
        return RELEASE_ACTIONS[self.release.state] is ReleaseAction.UNLOCK

    @property
    def alive(self) -> bool:
        """Say whether somebody holds the lock, or may be at work on the release."""
        return isinstance(self.lock, Held) or (self.pending and self.seconds > 0)

    @property
    def anything(self) -> bool:
        """Say whether there is anything to unlock."""
        return self.pending or isinstance(self.lock, Held) or bool(self.lock.after)

    def check(self, now: datetime) -> None:
        """Raise LockedError when it is not left behind, but in use."""
        if isinstance(self.lock, Held):
            refusal = self.lock.refusal(self.namespace, now)
            raise LockedError(refusal.what, why=refusal.why, next_command=_WHEN_IT_HANGS)
        if self.alive and self.ending:
            raise LockedError(
                f"the release is {self.release.status}, and that helm is still at work",
                why=NOT_ITS_RUN,
                next_command=f"wait until it has ended; or, when it hangs: {self.ending}",
            )
        if self.alive:
            raise LockedError(
                f"the release is {self.release.status}, and that helm may still be at work",
                why="when it is not, the release is free in " + human_seconds(self.seconds),
                next_command=_WHEN_IT_HANGS,
            )

    def lines(self, now: datetime) -> list[str]:
        """Say who holds or left the lock, and in which state the release is."""
        if isinstance(self.lock, Held):
            lock = f"held by {self.lock.by}, {self.lock.told(now)}"
        elif self.lock.after:
            lock = f"left behind by {self.lock.after}, which has ended or no longer renews it"
            lock += f" ({self.lock.told(now)})"
        else:
            lock = "free"
        return [f"lock of namespace {self.namespace}: {lock}", f"release: {self._release()}"]

    def _release(self) -> str:
        release = self.release
        if self.pending:
            return f"left {release.status} (revision {release.revision}) by a helm that did not end"
        if RELEASE_ACTIONS[release.state] is ReleaseAction.FINISH:
            return "its removal was interrupted; the next install or uninstall finishes it"
        return f"{release.status} (revision {release.revision})" if release.revision else "none"


_WHEN_IT_HANGS = "wait until it has ended; or, when it never will: vllm-flows unlock --force"


def look_at_locks(session: Session, now: datetime) -> Locks:
    """Read the Lease and the release. Raises ClusterError and ReleaseError as their adapters do."""
    placed = session.guarded(unguarded)  # it knows the place by which helm's lock is named
    lock = decide(placed.cluster.get("Lease", LEASE), "", now, this_machine())
    release, helm = placed.helm.release(), placed.helm
    ours, busy = helm.left(release), helm.busy()
    seconds = wait_before_unlock(release, time.time(), ours=ours, busy=busy)
    ending = helm.ending() if busy else ""
    return Locks(session.settings.namespace, lock, release, seconds, ending)


def seize(cluster: Cluster, wall: Callable[[], datetime] = wall_clock) -> None:
    """Take the lock from whoever holds it; that run learns of it at its next write or renewal."""
    for _ in range(_TRIES):
        lease = cluster.get("Lease", LEASE)
        if lease is None or not (lease.get("spec") or {}).get("holderIdentity"):
            return
        try:
            cluster.replace(released(lease, wall()))
        except ConflictError:
            continue  # it was renewed at that moment
        return
    raise LockedError(
        f"the lock of namespace {cluster.namespace} changed at every try to take it",
        next_command=f"kubectl get lease {LEASE} -n {cluster.namespace} --watch",
    )
