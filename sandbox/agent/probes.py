"""Probes: when they are due and what their results add up to. Pure, but for `ask`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

Object = dict[str, Any]
Kind = Literal["startup", "readiness", "liveness"]

_SUCCESS = range(200, 400)


@dataclass
class Probe:
    """One probe of a running container; times are seconds of the monotonic clock.

    `passed` is None until enough results came, then what they say. Defaults are the API's.
    A `factor` below 1 shortens delay and period for tests that cannot wait as long as a chart
    does. It then takes more failures, so that what fails has as much time as without it.
    """

    spec: Object
    started: float
    factor: float = 1.0
    passed: bool | None = None
    due: float = field(init=False)
    successes: int = 0
    failures: int = 0

    def __post_init__(self) -> None:
        self.due = self.started + self.spec.get("initialDelaySeconds", 0) * self.factor

    @property
    def timeout(self) -> float:
        """How long one try may take, in seconds."""
        return float(self.spec.get("timeoutSeconds", 1))

    def record(self, *, success: bool, now: float) -> None:
        """Take a result in and plan the next try."""
        self.due = now + self.spec.get("periodSeconds", 10) * self.factor
        if success:
            self.successes, self.failures = self.successes + 1, 0
            if self.successes >= self.spec.get("successThreshold", 1):
                self.passed = True
        else:
            self.successes, self.failures = 0, self.failures + 1
            if self.failures >= self.spec.get("failureThreshold", 3) / self.factor:
                self.passed = False


def probes_of(container: Object, now: float, factor: float = 1.0) -> dict[Kind, Probe]:
    """Return the container's httpGet probes; other kinds count as absent."""
    kinds: tuple[Kind, ...] = ("startup", "readiness", "liveness")
    return {
        kind: Probe(container[f"{kind}Probe"], now, factor)
        for kind in kinds
        if "httpGet" in (container.get(f"{kind}Probe") or {})
    }


def port_of(spec: Object, container: Object) -> int:
    """Return the container port that a probe names or numbers; 0 for an unknown name."""
    wanted = spec["httpGet"]["port"]
    if isinstance(wanted, int):
        return wanted
    if str(wanted).isdigit():
        return int(wanted)
    ports = {each.get("name"): each["containerPort"] for each in container.get("ports") or []}
    return int(ports.get(wanted, 0))


def ask(client: httpx.Client, probe: Probe, local_port: int | None, shown: str) -> str:
    """Try the probe once; return "" when it passes, else a kubelet's words for the failure.

    `shown` is the pod's address as messages name it.
    """
    path = probe.spec["httpGet"].get("path", "/")
    refused = f'Get "http://{shown}{path}": dial tcp {shown}: connect: connection refused'
    if local_port is None:
        return refused
    try:
        status = client.get(f"http://127.0.0.1:{local_port}{path}", timeout=probe.timeout)
    except httpx.TimeoutException:
        return f'Get "http://{shown}{path}": context deadline exceeded'
    except httpx.TransportError:
        return refused
    if status.status_code in _SUCCESS:
        return ""
    return f"HTTP probe failed with statuscode: {status.status_code}"
