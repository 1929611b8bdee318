"""What the router counts of each model: requests, and those that broke. Pure.

`vllm:num_incoming_requests_total` is there in all of 0.1.8 to 0.1.12; `vllm:request_errors_total`,
requests that broke between router and engine, from 0.1.10 on (production-stack,
src/vllm_router/services/metrics_service/__init__.py). `vllm:num_requests_running` has a server's
address instead of a model. The counters begin anew with the router's pod.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from vllm_flows.health import Finding, Kind
from vllm_flows.health_memory import Memory

_LINE = re.compile(r"^(?P<name>[A-Za-z_:][\w:]*)\{(?P<labels>.*)\} (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_REQUESTS, _ERRORS = "vllm:num_incoming_requests_total", "vllm:request_errors_total"
_RUNNING = "vllm:num_requests_running"
_FEW_ERRORS = 3
_SHARE_PERCENT = 1


@dataclass(frozen=True)
class Counts:
    """The sums over all routers: `requests` and `errors` by model, `running` by engine's address.

    `told` says whether this router counts errors at all.
    """

    requests: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    running: Mapping[str, int] = field(default_factory=dict)
    told: bool = False

    def busy(self, host: str) -> bool:
        """Say whether the engine at this address was answering somebody."""
        return bool(host) and any(
            count for server, count in self.running.items() if f"//{host}:" in server
        )


def counts(pages: Iterable[str]) -> Counts:
    """Read the pages that the routers' GET /metrics answered."""
    requests, errors, running = Counter[str](), Counter[str](), Counter[str]()
    told = False
    for page in pages:
        told = told or _ERRORS in page
        for name, labels, value in _samples(page):
            if name == _REQUESTS:
                requests[labels.get("model", "")] += value
            elif name == _ERRORS:
                errors[labels.get("model", "")] += value
            elif name == _RUNNING:
                running[labels.get("server", "")] += value
    return Counts(requests, errors, running, told)


def _samples(page: str) -> Iterator[tuple[str, Mapping[str, str], int]]:
    for line in page.splitlines():
        match = _LINE.match(line.strip())
        if match:
            try:
                yield (
                    match["name"],
                    dict(_LABEL.findall(match["labels"])),
                    int(float(match["value"])),
                )
            except (ValueError, OverflowError):
                continue


def judge_errors(model: str, now: Counts, memory: Memory) -> list[Finding]:
    """Judge what broke since the last check; a few of many requests are no finding."""
    if memory.errors is None or not now.told:
        return []
    errors = _since(now.errors.get(model, 0), memory.errors)
    requests = _since(now.requests.get(model, 0), memory.requests or 0)
    if errors < _FEW_ERRORS or errors * 100 < requests * _SHARE_PERCENT:
        return []
    return [Finding(Kind.ROUTER_ERRORS, f"{errors} of {requests} requests broke at the router")]


def _since(now: int, before: int) -> int:
    """Return how much a counter grew; one that is smaller began anew."""
    return now - before if now >= before else now
