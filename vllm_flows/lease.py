"""The lock: one Lease per namespace, held and renewed by the one run that may change things.

Whoever changes something calls `Lock.check` right before. Between a check and the write that
follows it there is a moment that no lease can close: keep it short.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from vllm_flows.cluster import Cluster, Object
from vllm_flows.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    LockedError,
    LockLostError,
    NoRightError,
    StoppedError,
)
from vllm_flows.guarding import unguarded
from vllm_flows.lease_holder import Machine, holder_name, this_machine
from vllm_flows.lease_rules import (
    DURATION_SECONDS,
    GRACE_SECONDS,
    LEASE,
    Held,
    decide,
    loss,
    released,
    renewed,
    same_hold,
    taken,
)
from vllm_flows.sizes import human_seconds
from vllm_flows.waiting import StoppableClock

RENEW_SECONDS = 5.0
_RETRY_SECONDS = 1.0
"""How soon after a renewal that failed the next is tried."""
_FRESH_SECONDS = 10.0
"""A check renews a hold that is older: who checked has the rest of the duration to write."""
_REQUEST_SECONDS = 5.0
"""A request that hangs must leave time for another one before the hold ends."""
_TRIES = 3


class SuspendedTimeClock(StoppableClock):
    """A clock that goes on while the machine is suspended, unlike Python's monotonic one."""

    def now(self) -> float:
        """Return seconds on CLOCK_BOOTTIME; elsewhere CLOCK_MONOTONIC, which is that on macOS."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def wall_clock() -> datetime:
    """Return this machine's time of day."""
    return datetime.now(UTC)


@dataclass
class Lock:
    """The lock of one namespace, for one run: acquire, check before each write, release.

    For use from many threads. Once lost or released it stays so; another run needs another Lock.
    `say` is told, by the thread that calls, what the reader should know.
    """

    cluster: Cluster
    me: str
    here: Machine
    say: Callable[[str], None]
    clock: StoppableClock
    wall: Callable[[], datetime] = wall_clock

    _mutex: threading.RLock = field(default_factory=threading.RLock, init=False)
    _lease: Object | None = field(default=None, init=False)
    _renewed_at: float = field(default=0.0, init=False)
    _over: str = field(default="", init=False)
    """Why this hold has ended for good."""

    @classmethod
    def of(cls, cluster: Cluster, verb: str, say: Callable[[str], None]) -> Lock:
        """Return the lock of the cluster's namespace for this run, which does `verb`."""
        here = this_machine()
        hasty = dataclasses.replace(
            cluster, read_seconds=_REQUEST_SECONDS, patience=None, guard=unguarded
        )
        return cls(hasty, holder_name(verb, here), here, say, SuspendedTimeClock())

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock and keep it renewed, in a daemon thread, until `release`.

        Raises LockedError when another run holds it, and ClusterError as Cluster does; when the
        API did not answer, acquiring again is safe. The namespace has to be there.
        """
        with self._mutex:
            after = self._take()
        if after:
            self.say(f"the lock is taken over from {after}, which has ended or no longer renews it")
        threading.Thread(target=self._keep_renewed, name="lock", daemon=True).start()

    def check(self) -> None:
        """Return only while nobody else can hold the lock; to be called right before each write.

        Raises LockLostError once it is lost: another run took it, the Lease was deleted, or it was
        released. Without an answer of the API the hold counts for its duration after the last
        renewal, by a clock that goes on during suspension; then ClusterUnavailableError is
        raised until the API answers. A hold that outlived its duration counts again only once it
        is renewed, which succeeds only when nobody took it.
        """
        with self._mutex:
            try:
                self._lease = self._read_hold()
                if self._age() > _FRESH_SECONDS:
                    self._renew()
            except ClusterUnavailableError:
                if self._age() >= DURATION_SECONDS:
                    raise

    def renew(self) -> None:
        """Renew the hold now. Raises as `check` does, and ClusterUnavailableError at once."""
        with self._mutex:
            self._renew()

    def release(self) -> None:
        """Let others have the lock; never raises for what the API answers. Twice is safe."""
        self.clock.stop()
        with self._mutex:
            held = self._lease if not self._over else None
            self._over = self._over or "it was released"
            try:
                if held:
                    self._free(held)
            except ClusterError as error:
                if isinstance(error, NoRightError) and self._went_with_its_namespace():
                    return
                ends = human_seconds(DURATION_SECONDS + GRACE_SECONDS)
                self.say(f"the lock could not be released, it ends in {ends}: {error.what}")

    def _take(self) -> str:
        """Become the holder; return whom the lock was taken from, if from anybody."""
        if self._over:
            raise self._loss()
        for _ in range(_TRIES):
            lease = self.cluster.get("Lease", LEASE)
            now, begin = self.wall(), self.clock.now()
            decision = decide(lease, self.me, now, self.here)
            if isinstance(decision, Held):
                raise decision.refusal(self.cluster.namespace, now)
            body = taken(lease, self.cluster.namespace, self.me, now)
            try:
                self._lease = self.cluster.replace(body) if lease else self.cluster.create(body)
            except ConflictError:
                continue  # somebody was quicker; the Lease now says who
            self._renewed_at = begin
            return decision.after
        raise LockedError(
            f"namespace {self.cluster.namespace} is locked: held by several runs in turn",
            why="the Lease changed at every try to take it",
            next_command=f"kubectl get lease {LEASE} -n {self.cluster.namespace} --watch",
        )

    def _renew(self) -> None:
        """Write the time into the Lease, unless it is no longer ours."""
        for _ in range(_TRIES):
            begin = self.clock.now()
            try:
                self._lease = self.cluster.replace(renewed(self._held(), self.wall()))
            except ConflictError:
                self._lease = self._read_hold()  # still ours when an answer of the API was lost
                continue
            self._renewed_at = begin
            return
        raise ClusterUnavailableError("cannot renew the lock: the Lease changes at every try")

    def _read_hold(self) -> Object:
        """Return the Lease as it is now; raises LockLostError when it is no longer our hold."""
        held = self._held()
        lease = self.cluster.get("Lease", LEASE)
        if lease and same_hold(lease, held):
            return lease
        decision = decide(lease, self.me, self.wall(), self.here)
        taker = decision.by if isinstance(decision, Held) else ""
        self._over = f"held by {taker}" if taker else "another run had it, or it was deleted"
        raise self._loss()

    def _held(self) -> Object:
        if self._over or not self._lease:
            raise self._loss()
        return self._lease

    def _loss(self) -> LockLostError:
        return loss(self.cluster.namespace, self._over or "it was never acquired")

    def _free(self, held: Object) -> None:
        try:
            self.cluster.replace(released(held, self.wall()))
        except ConflictError:
            lease = self.cluster.get("Lease", LEASE)
            if lease and same_hold(lease, held):
                self.cluster.replace(released(lease, self.wall()))

    def _went_with_its_namespace(self) -> bool:
        """Say whether the namespace is gone or going: Role and account in it go before it does."""
        try:
            found = self.cluster.get("Namespace", self.cluster.namespace)
        except NoRightError:  # not even that: the account is no more
            return True
        except ClusterError:
            return False
        return found is None or "deletionTimestamp" in found["metadata"]

    def _age(self) -> float:
        return self.clock.now() - self._renewed_at

    def _keep_renewed(self) -> None:
        """Renew until the lock is lost or released; what the API refuses now is tried again."""
        pause = RENEW_SECONDS
        while True:
            try:
                self.clock.sleep(pause)
                self.renew()
                pause = RENEW_SECONDS
            except (LockLostError, StoppedError):
                return
            except ClusterError:
                pause = _RETRY_SECONDS


def current_holder(cluster: Cluster, wall: Callable[[], datetime] = wall_clock) -> Held | None:
    """Return who holds the lock now, for runs that change nothing; None when it is free.

    Raises ClusterError as Cluster does.
    """
    decision = decide(cluster.get("Lease", LEASE), "", wall(), this_machine())
    return decision if isinstance(decision, Held) else None
