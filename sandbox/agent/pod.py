"""One pod: a thread that runs its containers, reports its status and ends it."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sandbox.agent import forwarding, volumes
from sandbox.agent.api import ApiError
from sandbox.agent.container import Container
from sandbox.agent.node import Node
from sandbox.agent.processes import stop
from sandbox.agent.records import record_of, timestamp
from sandbox.agent.status import status_of

Object = dict[str, Any]

_RETRY_SECONDS = 2.0
_DEFAULT_GRACE_SECONDS = 30
_GONE = 404


class Pod(threading.Thread):
    """Runs one pod until it is over and deleted."""

    def __init__(self, node: Node, pod: Object) -> None:
        super().__init__(name=pod["metadata"]["name"], daemon=True)
        self._node = node
        self._pod = pod
        self._path = (
            f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
        )
        self._gone = threading.Event()
        self._awake = threading.Event()
        self._ip = node.addresses.take(kept=(pod.get("status") or {}).get("podIP") or "")
        self._volumes: dict[str, Path] | None = None
        self._last: Object = pod.get("status") or {}
        self._init = self._containers("initContainers", "initContainerStatuses", init=True)
        self._main = self._containers("containers", "containerStatuses", init=False)

    def update(self, pod: Object) -> None:
        """Take the pod's newest version from the watch."""
        deleted_now = pod["metadata"].get("deletionTimestamp") and not self._deleting
        self._pod = pod
        if deleted_now:
            self._awake.set()

    def gone(self) -> None:
        """Take note that the pod is no longer in the API."""
        self._gone.set()
        self._awake.set()

    def end(self) -> None:
        """End the containers at once and leave the API alone: the agent is stopping."""
        self._gone.set()
        stop([each.process for each in self._all if each.process], 2.0)

    def run(self) -> None:
        """Step until the pod is gone; then clear up behind it."""
        while not self._gone.is_set():
            self._awake.clear()
            if self._deleting:
                if self._finish():
                    break
                due = time.monotonic() + _RETRY_SECONDS
            else:
                due = min(self._step(), self._publish())
            if due < math.inf:
                self._awake.wait(max(0.0, due - time.monotonic()))
            else:
                self._awake.wait()
        self._clear_up()

    @property
    def _deleting(self) -> bool:
        return bool(self._pod["metadata"].get("deletionTimestamp"))

    @property
    def _all(self) -> list[Container]:
        return [*self._init, *self._main]

    def _containers(self, field: str, statuses: str, *, init: bool) -> list[Container]:
        known = {each["name"]: each for each in (self._pod.get("status") or {}).get(statuses) or []}
        starts_with_init = bool(self._pod["spec"].get("initContainers"))
        reason = "PodInitializing" if starts_with_init else "ContainerCreating"
        return [
            Container(
                self._node,
                self._pod,
                spec,
                record_of(spec, known.get(spec["name"]), init=init, reason=reason),
                self._report,
                self._awake.set,
            )
            for spec in self._pod["spec"].get(field) or []
        ]

    def _report(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._node.recorder.record(self._pod, reason, message, warning=warning)

    def _step(self) -> float:
        """Do what is due for each container; return when to come back."""
        now = time.monotonic()
        if self._over():
            return math.inf
        if self._volumes is None and not self._mount():
            return now + _RETRY_SECONDS
        for container in self._init:
            if container.record.exit_code != 0:
                return self._advance(container, now)
        return min(self._advance(each, now) for each in self._main)

    def _over(self) -> bool:
        """Tell whether every container is over, or the pod with a failed init container."""
        failed = any(each.finished and each.record.exit_code for each in self._init)
        return failed or all(each.finished for each in self._main)

    def _advance(self, container: Container, now: float) -> float:
        before = container.process
        due = container.advance(self._volumes or {}, self._ip, now)
        if container.process is not None and container.process is not before:
            self._lead_here(container)
        # After an init container's end it is the next one's turn.
        return now if container.record.init and container.record.exit_code == 0 else due

    def _mount(self) -> bool:
        folder = self._node.pod_folder(self._pod["metadata"]["uid"]) / "volumes"
        try:
            self._volumes = volumes.prepare(self._node.api, self._pod, folder)
        except volumes.MountError as error:
            self._report("FailedMount", str(error), warning=True)
        except ApiError:
            pass
        return self._volumes is not None

    def _lead_here(self, container: Container) -> None:
        """Let port-forwards, logs and the router find a container that was just started."""
        try:
            forwarding.publish_logs(self._node, self._pod)
            if container.ports:
                forwarding.publish_ports(self._node, self._pod, self._path, container.ports)
        except ApiError as error:
            self._report("FailedForwarding", str(error), warning=True)

    def _publish(self) -> float:
        """Write the status when it changed; return when to try again, infinity when done."""
        init, main = ([each.record for each in group] for group in (self._init, self._main))
        policy = self._pod["spec"].get("restartPolicy", "Always")
        status = status_of(policy, self._ip, init, main, self._last, timestamp())
        if status == self._last:
            return math.inf
        body = {"metadata": {"uid": self._pod["metadata"]["uid"]}, "status": status}
        try:
            # Its answer is no news: the watch may have told of the pod's deletion meanwhile.
            self._node.api.patch(f"{self._path}/status", body, "strategic")
        except ApiError as error:
            if error.status == _GONE:
                self._gone.set()
            return time.monotonic() + _RETRY_SECONDS
        self._last = status
        return math.inf

    def _finish(self) -> bool:
        """End a pod that is being deleted, then delete it for good; False to try again."""
        for container in self._all:
            container.record.ready = False
        self._publish()
        grace = self._pod["metadata"].get("deletionGracePeriodSeconds", _DEFAULT_GRACE_SECONDS)
        self._stop_containers(float(grace))
        for container in self._all:
            if container.process is not None:
                container.advance(self._volumes or {}, self._ip, time.monotonic())
        self._publish()
        try:
            self._node.api.delete(self._path, uid=self._pod["metadata"]["uid"], grace_seconds=0)
        except ApiError:
            return False
        return True

    def _stop_containers(self, seconds: float) -> None:
        running = [each for each in self._all if each.process]
        for container in running:
            self._report("Killing", f"Stopping container {container.record.name}")
        stop([each.process for each in running if each.process], seconds, self._gone.is_set)

    def _clear_up(self) -> None:
        """Leave nothing of a pod that is gone but its logs."""
        grace = self._pod["spec"].get("terminationGracePeriodSeconds", _DEFAULT_GRACE_SECONDS)
        stop([each.process for each in self._all if each.process], float(grace))
        self._node.addresses.release(self._ip)
        self._node.recorder.forget(self._pod)
        uid = self._pod["metadata"]["uid"]
        shutil.rmtree(self._node.pod_folder(uid), ignore_errors=True)


def is_over(pod: Object) -> bool:
    """Tell whether a pod's containers all ended for good, so that it only waits for deletion."""
    over: Sequence[str] = ("Succeeded", "Failed")
    return (pod.get("status") or {}).get("phase") in over
