"""One container of a pod, from its first start to its last end."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sandbox.agent import backoff, launch, output, probes
from sandbox.agent.api import ApiError
from sandbox.agent.environment import ConfigError
from sandbox.agent.images import PullError
from sandbox.agent.node import Node
from sandbox.agent.processes import Process, stop
from sandbox.agent.records import Record, running, terminated, timestamp, waiting
from sandbox.agent.status import restarts
from vllm_flows.quantities import parse_quantity

Object = dict[str, Any]
Report = Callable[..., None]

_RETRY_SECONDS = 3.0
_MEMORY_SECONDS = 1.0
_MESSAGE_BYTES = 4096
_CANNOT_START = 128


class Container:
    """Runs a container by steps; `advance` does what is due and says when to come back.

    `report` takes an event's reason and message, `wake` is called when the process ends.
    """

    def __init__(
        self,
        node: Node,
        pod: Object,
        spec: Object,
        record: Record,
        report: Report,
        wake: Callable[[], None],
    ) -> None:
        self.record = record
        self.process: Process | None = None
        self.ports: dict[int, int] = {}
        self._node, self._pod, self._spec = node, pod, spec
        self._report, self._wake = report, wake
        self._policy = pod["spec"].get("restartPolicy", "Always")
        self._backoff = backoff.Backoff(node.backoff_seconds)
        self._pulls = backoff.Backoff(node.backoff_seconds)
        self._not_before = 0.0
        self._since = 0.0
        self._planned: launch.Plan | None = None
        self._probes: dict[probes.Kind, probes.Probe] = {}
        self._out_of_memory = False
        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
        self._memory_limit = float(parse_quantity(limit)) if limit else math.inf

    @property
    def finished(self) -> bool:
        """Tell whether the container ended and will not be started again."""
        code = self.record.exit_code
        return code is not None and not restarts(self._policy, code, init=self.record.init)

    def advance(self, volumes: Mapping[str, Path], pod_ip: str, now: float) -> float:
        """Do what is due; return the moment of the next step, infinity when none is known."""
        if self.process is not None:
            if self.process.exit_code is None:
                return self._watch(pod_ip, now)
            self._end(self.process.exit_code, now)
            return math.inf if self.finished else max(now, self._not_before)
        if self.finished:
            return math.inf
        if now < self._not_before:
            return self._not_before
        return self._start(volumes, pod_ip, now)

    def _start(self, volumes: Mapping[str, Path], pod_ip: str, now: float) -> float:
        try:
            self._planned = launch.plan(self._node, self._pod, self._spec, volumes, pod_ip)
        except PullError as error:
            return self._pull_failed(str(error), now)
        except ConfigError as error:
            self._report("Failed", f"Error: {error}", warning=True)
            return self._wait("CreateContainerConfigError", str(error), now + _RETRY_SECONDS)
        except ApiError:
            return now + _RETRY_SECONDS
        if self.record.ran:
            self.record.restart_count += 1
            if "terminated" in self.record.state:
                self.record.last_state = self.record.state
        log = self._node.log(self._pod, self.record.name, self.record.restart_count)
        try:
            self.process = launch.start(self._planned, log, self._wake)
        except OSError as error:
            return self._not_started(error, now)
        self._running(log, now)
        return now

    def _running(self, log: Path, now: float) -> None:
        assert self._planned  # noqa: S101 -- set just before
        assert self.process  # noqa: S101 -- likewise
        name = self.record.name
        output.link_log(log)
        self.ports, self._since, self._out_of_memory = self._planned.ports, now, False
        self.record.identifier = f"sandbox://{self.process.pid}-{self.record.restart_count}"
        self.record.state = running(timestamp())
        self._probes = probes.probes_of(self._spec, now, self._node.probe_factor)
        self.record.started = "startup" not in self._probes
        self.record.ready = self.record.started and "readiness" not in self._probes
        image = self.record.image
        self._report("Pulled", f'Container image "{image}" already present on machine')
        self._report("Created", f"Container created: {name}")
        self._report("Started", f"Container started: {name}")

    def _not_started(self, error: OSError, now: float) -> float:
        program = self._planned.arguments[0] if self._planned and self._planned.arguments else ""
        message = (
            f'exec: "{program}": executable file not found in $PATH'
            if isinstance(error, FileNotFoundError)
            else str(error)
        )
        self._report("Failed", f"Error: {message}", warning=True)
        self.record.state = terminated(_CANNOT_START, reason="StartError", message=message)
        self._plan_restart(0.0, now)
        return math.inf if self.finished else max(now, self._not_before)

    def _pull_failed(self, message: str, now: float) -> float:
        """Show the failure first, then, as a kubelet does, the wait for the next try."""
        image = self.record.image
        if self.record.state.get("waiting", {}).get("reason") == "ErrImagePull":
            self._report("BackOff", f'Back-off pulling image "{image}"')
            text = f'Back-off pulling image "{image}": ErrImagePull: {message}'
            delay = max(self._pulls.next(0.0), self._node.backoff_seconds)
            return self._wait("ImagePullBackOff", text, now + delay)
        self._report("Failed", f'Failed to pull image "{image}": {message}', warning=True)
        return self._wait("ErrImagePull", message, now + _RETRY_SECONDS)

    def _wait(self, reason: str, message: str, until: float) -> float:
        self.record.state = waiting(reason, message)
        self._not_before = until
        return until

    def _end(self, code: int, now: float) -> None:
        assert self.process  # noqa: S101 -- it just ended
        for port in self.ports.values():
            self._node.ports.release(port)
        self.record.state = terminated(
            code,
            started=self.record.state.get("running", {}).get("startedAt", ""),
            reason="OOMKilled" if self._out_of_memory else "",
            message=self._message(code, self.process.log),
            identifier=self.record.identifier,
        )
        self.process = None
        self.record.ready = self.record.started = False
        self._plan_restart(now - self._since, now)

    def _message(self, code: int, log: Path) -> str:
        file = self._planned.message_file if self._planned else None
        text = file.read_bytes()[:_MESSAGE_BYTES] if file and file.exists() else b""
        fallback = self._spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not text and code and fallback:
            return output.tail(log)
        return text.decode(errors="replace")

    def _plan_restart(self, ran_seconds: float, now: float) -> None:
        if self.finished:
            return
        delay = self._backoff.next(ran_seconds)
        self._not_before = now + delay
        if not delay:
            return
        metadata = self._pod["metadata"]
        name = f"{metadata['name']}_{metadata['namespace']}({metadata['uid']})"
        message = f"restarting failed container={self.record.name} pod={name}"
        self._report("BackOff", f"Back-off {message}", warning=True)
        self.record.last_state = self.record.state
        self.record.state = waiting("CrashLoopBackOff", f"back-off {backoff.text(delay)} {message}")

    def _watch(self, pod_ip: str, now: float) -> float:
        assert self.process  # noqa: S101 -- only called while it runs
        due = math.inf
        if self._memory_limit < math.inf:
            if self.process.resident_bytes() > self._memory_limit:
                self._out_of_memory = True
                self.process.send(signal.SIGKILL)
            due = now + _MEMORY_SECONDS
        for kind, probe in self._active_probes().items():
            if probe.due <= now:
                self._try(kind, probe, pod_ip)
            due = min(due, probe.due)
        return due

    def _active_probes(self) -> dict[probes.Kind, probes.Probe]:
        """Return the probes that count now: the others wait for the startup probe."""
        if self.record.started:
            return {kind: each for kind, each in self._probes.items() if kind != "startup"}
        return {kind: each for kind, each in self._probes.items() if kind == "startup"}

    def _try(self, kind: probes.Kind, probe: probes.Probe, pod_ip: str) -> None:
        port = probes.port_of(probe.spec, self._spec)
        failure = probes.ask(
            self._node.probes, probe, self.ports.get(port), shown=f"{pod_ip}:{port}"
        )
        probe.record(success=not failure, now=time.monotonic())
        if failure:
            self._report("Unhealthy", f"{kind.capitalize()} probe failed: {failure}", warning=True)
        if kind == "readiness":
            self.record.ready = probe.passed is True
        elif probe.passed is False:
            self._kill(kind)
        elif kind == "startup" and probe.passed:
            self._now_started()

    def _now_started(self) -> None:
        self.record.started = True
        self.record.ready = "readiness" not in self._probes
        for probe in self._active_probes().values():
            probe.due = max(probe.due, time.monotonic())

    def _kill(self, kind: probes.Kind) -> None:
        """End the container for a failed probe; the policy decides about a restart."""
        name = self.record.name
        self._report("Killing", f"Container {name} failed {kind} probe, will be restarted")
        self._probes = {}
        assert self.process  # noqa: S101 -- only a running container is probed
        stop([self.process], float(self._pod["spec"].get("terminationGracePeriodSeconds", 30)))
