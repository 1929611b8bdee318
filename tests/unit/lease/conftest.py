"""A fake of the API server's object store, a clock that only tests move, and runs that want in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vllm_flows.errors import ClusterUnavailableError, ConflictError, StoppedError
from vllm_flows.lease import Lock
from vllm_flows.lease_holder import Machine
from vllm_flows.lease_rules import LEASE

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
HERE = Machine("host", "boot", "1", {10: "100", 20: "200"}.get)
"""A machine with two processes, 10 and 20."""


def name(who: str, pid: int = 10, *, host: str = "host", boot: str = "boot") -> str:
    """Return a holder's name as `holder_name` makes them; `who` is its random part too."""
    return f"{who}@{host} pid {pid} upgrade [{boot}/1/{pid * 10}/{who}]"


@dataclass
class FakeCluster:
    """A fake: one namespace of an API server as far as versions of objects go.

    Each write gives the object a new `resourceVersion`; a `replace` with another than the stored
    one, or of an object that is gone, is a conflict. `before` is done once, before the next write:
    what somebody else does in that moment. `lose_answers` does the write and loses the answer.
    """

    namespace: str = "models"
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    version: int = 0
    silent: bool = False
    lose_answers: bool = False
    before: Callable[[], object] | None = None
    writes: int = 0

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        self._answer()
        return copy.deepcopy(self.objects.get((kind, name)))

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self._meanwhile()
        if (body["kind"], body["metadata"]["name"]) in self.objects:
            raise ConflictError("already exists")
        return self._store(body)

    def replace(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self._meanwhile()
        there = self.objects.get((body["kind"], body["metadata"]["name"]))
        sent = body["metadata"]["resourceVersion"]
        if there is None or there["metadata"]["resourceVersion"] != sent:
            raise ConflictError("the object has been modified")
        return self._store(body)

    @property
    def lease(self) -> dict[str, Any]:
        """What stands in the Lease."""
        spec: dict[str, Any] = self.objects["Lease", LEASE]["spec"]
        return spec

    def _store(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.writes += 1
        stored = copy.deepcopy(dict(body))
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.objects[body["kind"], body["metadata"]["name"]] = stored
        if self.lose_answers:
            raise ClusterUnavailableError("the answer is lost")
        return copy.deepcopy(stored)

    def _meanwhile(self) -> None:
        self._answer()
        before, self.before = self.before, None
        if before:
            before()

    def _answer(self) -> None:
        if self.silent:
            raise ClusterUnavailableError("no answer")


@dataclass
class FakeClock:
    """A clock that only sleeping moves; after `rounds` sleeps it is as if stopped."""

    time: float = 0.0
    rounds: int = 0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def wall(self) -> datetime:
        return BEGIN + timedelta(seconds=self.time)

    def sleep(self, seconds: float) -> None:
        if not self.rounds:
            raise StoppedError("stopped")
        self.rounds -= 1
        self.slept.append(seconds)
        self.time += seconds

    def stop(self) -> None:
        self.rounds = 0


@dataclass
class World:
    """A cluster, a clock, and what the runs said."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    clock: FakeClock = field(default_factory=FakeClock)
    said: list[str] = field(default_factory=list)

    def run(self, who: str, pid: int = 10, *, host: str = "host") -> Lock:
        """Return the lock as one run sees it; its thread renews `clock.rounds` times."""
        me = name(who, pid, host=host)
        return Lock(self.cluster, me, HERE, self.said.append, self.clock, self.clock.wall)

    def holding(self, who: str, pid: int = 10, *, host: str = "host") -> Lock:
        """Return the lock of a run that has acquired it."""
        lock = self.run(who, pid, host=host)
        lock.acquire()
        return lock


@pytest.fixture
def world() -> World:
    return World()
