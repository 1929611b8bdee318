"""The adapter to Prometheus (prometheus_client; httpx to a Pushgateway): where metrics go.

Both places keep what they were told last until it is replaced. A run that measured nothing leaves
there what an earlier one measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import httpx
from prometheus_client import (
    CollectorRegistry,
    Metric,
    delete_from_gateway,
    push_to_gateway,
    pushadd_to_gateway,
    write_to_textfile,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from vllm_flows.metrics import Sample
from vllm_flows.redaction import redacted
from vllm_flows.settings import Settings

JOB = "vllm-flows"
"""The label `job` of what is in a Pushgateway."""
_SECONDS = 5.0
"""For each of connecting, sending and the answer: no run waits long for its metrics."""
_READABLE = 0o644
_SHOWN = 200
_UNSENT = (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError)
"""The last two for proxies in the environment that httpx has no use for."""


class Flow(NamedTuple):
    """Whose metrics they are; also the labels that all of them have."""

    namespace: str
    flow: str


class Sink(Protocol):
    """A place that metrics are told to."""

    @property
    def name(self) -> str:
        """What it is and where, for people."""

    def tell(self, of: Flow, run: Sequence[Sample], measured: Sequence[Sample] | None) -> None:
        """Replace what is told of the flow's last run; of what was measured unless it is None.

        Raises OSError.
        """

    def forget(self, of: Flow) -> None:
        """Take away all that was told of the flow. Raises OSError."""


@dataclass(frozen=True)
class Gateway:
    """A Pushgateway; one group for each namespace and flow. `login` is user and password."""

    address: str
    login: tuple[str, str] | None = None

    @classmethod
    def at(cls, address: str) -> Gateway:
        """Take user and password out of the address."""
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
        login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        return cls(parts._replace(netloc=host).geturl(), login)

    @property
    def name(self) -> str:
        """What it is and where."""
        return f"the Pushgateway {self.address}"

    def tell(self, of: Flow, run: Sequence[Sample], measured: Sequence[Sample] | None) -> None:
        """Replace the group; where nothing was measured only the metrics of the run in it."""
        push = pushadd_to_gateway if measured is None else push_to_gateway
        push(
            self.address,
            JOB,
            _registry(of, [*run, *(measured or ())]),
            grouping_key=of._asdict(),
            timeout=_SECONDS,
            handler=self._sender,
        )

    def forget(self, of: Flow) -> None:
        """Delete the group."""
        delete_from_gateway(
            self.address,
            JOB,
            grouping_key=of._asdict(),
            timeout=_SECONDS,
            handler=self._sender,
        )

    def _sender(
        self,
        url: str,
        method: str,
        timeout: float | None,
        headers: list[tuple[str, str]],
        data: bytes,
    ) -> Callable[[], None]:
        """Return what sends a request. Unlike the library's own it goes to no other address.

        There a POST that is led elsewhere becomes a GET, whose success is taken for its own.
        """

        def send() -> None:
            try:
                answer = httpx.request(
                    method, url, headers=headers, content=data, timeout=timeout, auth=self.login
                )
            except _UNSENT as error:
                raise ConnectionError(str(error) or type(error).__name__) from error
            if not answer.is_success:
                told = " ".join(answer.text.split())[:_SHOWN]
                raise ConnectionError(f"HTTP {answer.status_code} {told}".strip())

        return send


@dataclass(frozen=True)
class Folder:
    """The folder of a node_exporter's textfile collector: two files for each namespace and flow."""

    path: Path

    @property
    def name(self) -> str:
        """What it is and where."""
        return f"the folder {self.path}"

    def tell(self, of: Flow, run: Sequence[Sample], measured: Sequence[Sample] | None) -> None:
        """Replace the file of the run, and that of what was measured."""
        last, of_models = self._files(of)
        _write(last, _registry(of, run))
        if measured is not None:
            _write(of_models, _registry(of, measured))

    def forget(self, of: Flow) -> None:
        """Delete both files."""
        for file in self._files(of):
            file.unlink(missing_ok=True)

    def _files(self, of: Flow) -> tuple[Path, Path]:
        name = f"{JOB}_{of.namespace}_{of.flow}"
        return self.path / f"{name}.prom", self.path / f"{name}_measured.prom"


def sinks(settings: Settings) -> list[Sink]:
    """Return where metrics go by these settings."""
    found: list[Sink] = []
    if settings.pushgateway:
        found.append(Gateway.at(settings.pushgateway))
    if settings.metrics_dir:
        found.append(Folder(settings.metrics_dir))
    return found


def _write(file: Path, registry: CollectorRegistry) -> None:
    """Write in one step; whoever runs node_exporter may read it."""
    write_to_textfile(str(file), registry)
    file.chmod(_READABLE)


def _registry(of: Flow, samples: Sequence[Sample]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Samples(of, samples))
    return registry


class _Samples(Collector):
    """Samples as the library takes them."""

    def __init__(self, of: Flow, samples: Sequence[Sample]) -> None:
        self._of, self._samples = of, samples

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for metric, value, labels in self._samples:
            names = (*Flow._fields, *metric.labels)
            family = families.setdefault(
                metric.name, GaugeMetricFamily(metric.name, metric.meaning, labels=names)
            )
            family.add_metric([redacted(one) for one in (*self._of, *labels)], value)
        return families.values()
