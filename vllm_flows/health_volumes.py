"""Looking at all weights volumes: a Job on each node where engines have them, and its log."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from vllm_flows.errors import ClusterError, VllmFlowsError
from vllm_flows.health import VOLUMES, Checked, Finding, Kind
from vllm_flows.health_volume_job import LABEL, Batch, batches, job_of, program_of
from vllm_flows.health_volume_rules import Volume, has_ended, volumes_in, why_stuck
from vllm_flows.observed import WeightsClaim
from vllm_flows.session import Session

Object = Mapping[str, Any]

_LONGEST_SECONDS = 300.0
"""For sizes alone; reading all files may take as long as fetching them."""
_START_SECONDS = 90.0
_POLL_SECONDS = 1.0
_LINES = 1000


@dataclass(frozen=True)
class Looked:
    """What the volumes are like, by model, and which nodes could not be asked, with the reason."""

    volumes: Mapping[str, Volume] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> Checked:
        """What is about no model."""
        found = tuple(
            Finding(Kind.NOT_MEASURED, f"the volumes of node {node} were not looked at", why)
            for node, why in self.failed.items()
        )
        return Checked(VOLUMES, found)


def inspect_volumes(
    session: Session, claims: Mapping[str, WeightsClaim], pods: Iterable[Object], *, deep: bool
) -> Looked:
    """Look at the volumes of all engines that have a node; `deep`: read every file.

    Writes nothing that lasts. What a node does not tell is part of the answer.
    """
    limit = session.settings.weights_timeout.total_seconds() if deep else _LONGEST_SECONDS
    word = uuid.uuid4().hex[:8]
    look = _Look(session, claims, batches(claims, pods, word), word, limit)
    try:
        return look.done(deep=deep)
    finally:
        look.clear()


@dataclass
class _Look:
    """One look: the Jobs that are made for it, and what they told so far."""

    session: Session
    claims: Mapping[str, WeightsClaim]
    batches: Sequence[Batch]
    word: str
    limit: float
    volumes: dict[str, Volume] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def done(self, *, deep: bool) -> Looked:
        """Start all Jobs, and read each when it has ended."""
        waiting = {batch.name: batch for batch in self.batches if self._started(batch, deep=deep)}
        clock = self.session.clock
        begin = clock.now()
        while waiting:
            clock.sleep(_POLL_SECONDS)
            waited = clock.now() - begin
            for batch in self._ended(waiting, waited):
                del waiting[batch.name]
        return Looked(self.volumes, self.failed)

    def _started(self, batch: Batch, *, deep: bool) -> bool:
        cluster = self.session.cluster
        try:
            cluster.create(program_of(batch, self.claims, self.word, deep=deep))
            job = cluster.create(job_of(batch, self.session.settings, self.word, self.limit))
            owner = {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": batch.name,
                "uid": job["metadata"]["uid"],
            }
            # Where this process is killed, Kubernetes removes what is left.
            fields = {"metadata": {"ownerReferences": [owner]}}
            cluster.merge("ConfigMap", batch.name, fields)
        except VllmFlowsError as error:
            self._fail(batch, error.what)
            return False
        return True

    def _ended(self, waiting: Mapping[str, Batch], waited: float) -> list[Batch]:
        """Return what need not be waited for any longer, and note what it told."""
        try:
            jobs = {one["metadata"]["name"]: one for one in self._find("Job")}
            pods = self._find("Pod")
        except ClusterError as error:
            late = waited > self.limit
            ended = list(waiting.values()) if late or not error.retryable else []
            for batch in ended:
                self._fail(batch, error.what)
            return ended
        return [one for one in waiting.values() if self._heard(one, jobs, pods, waited)]

    def _heard(
        self, batch: Batch, jobs: Mapping[str, Object], pods: Sequence[Object], waited: float
    ) -> bool:
        mine = [one for one in pods if one["metadata"]["labels"].get("job-name") == batch.name]
        job = jobs.get(batch.name)
        if job is not None and not has_ended(job):
            stuck = why_stuck(mine, patient=waited < _START_SECONDS)
            if stuck:
                self._fail(batch, stuck)
            return bool(stuck)
        log = self.session.cluster.log(mine[0]["metadata"]["name"], lines=_LINES) if mine else ""
        told = {one.model: one for one in volumes_in(log)}
        self.volumes |= told
        missing = batch.commits.keys() - told.keys()
        if missing:
            self._fail(batch, f"the Job told nothing of {len(missing)} of them")
        return True

    def _find(self, kind: str) -> list[dict[str, Any]]:
        return self.session.cluster.find(kind, f"{LABEL}={self.word}")

    def _fail(self, batch: Batch, why: str) -> None:
        self.failed[batch.node] = why

    def clear(self) -> None:
        """Remove the Jobs, and with them their ConfigMaps; what cannot be is left to Kubernetes."""
        for batch in self.batches:
            with suppress(VllmFlowsError):
                self.session.cluster.delete("Job", batch.name)
                self.session.cluster.delete("ConfigMap", batch.name)
