"""The adapter to Prometheus (prometheus_client; httpx to a Pushgateway): where metrics go.

Both places keep what they were told last until it is replaced. A run that measured nothing leaves
there what an earlier one measured; what lasts has a group, or a file, of its own.
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

from vllm_flows.metrics import Lasting, Sample
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

    def keep(self, of: Flow, what: Lasting) -> None:
        """Replace what lasts, of the same name and model. Raises OSError."""

    def forget(self, of: Flow) -> None:
        """Take away all that was told of the flow. Raises OSError."""


@dataclass(frozen=True)
class Gateway:
    """A Pushgateway; one group for each namespace and flow, and for each thing that lasts.

    `login` is user and password.
    """

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

    def keep(self, of: Flow, what: Lasting) -> None:
        """Replace its group: that of the flow under another `job`, for a model with its name."""
        model = {"model": what.model} if what.model else {}
        push_to_gateway(
            self.address,
            f"{JOB}-{what.name}",
            _registry(of, what.samples),
            grouping_key=of._asdict() | model,
            timeout=_SECONDS,
            handler=self._sender,
        )

    def forget(self, of: Flow) -> None:
        """Delete all groups of the flow that there are."""
        for labels in self._groups():
            job, key = labels.get("job", ""), {**labels}
            key.pop("job", None)
            if job.startswith(JOB) and of._asdict().items() <= labels.items():
                delete_from_gateway(
                    self.address, job, grouping_key=key, timeout=_SECONDS, handler=self._sender
                )

    def _groups(self) -> list[dict[str, str]]:
        """Return the labels of all groups."""
        answer = self._asked("GET", f"{self.address}/api/v1/metrics")
        try:
            return [dict(group["labels"]) for group in answer.json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ConnectionError("it does not say what it keeps") from error

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
            self._asked(method, url, headers, data, timeout)

        return send

    def _asked(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]] = (),
        data: bytes = b"",
        timeout: float | None = _SECONDS,
    ) -> httpx.Response:
        """Send a request; return its good answer. Raises ConnectionError for any other."""
        try:
            answer = httpx.request(
                method, url, headers=list(headers), content=data, timeout=timeout, auth=self.login
            )
        except _UNSENT as error:
            raise ConnectionError(str(error) or type(error).__name__) from error
        if not answer.is_success:
            told = " ".join(answer.text.split())[:_SHOWN]
            raise ConnectionError(f"HTTP {answer.status_code} {told}".strip())
        return answer


@dataclass(frozen=True)
class Folder:
    """The folder of a node_exporter's textfile collector.

    Two files for each namespace and flow, and one for each thing that lasts.
    """

    path: Path

    @property
    def name(self) -> str:
        """What it is and where."""
        return f"the folder {self.path}"

    def tell(self, of: Flow, run: Sequence[Sample], measured: Sequence[Sample] | None) -> None:
        """Replace the file of the run, and that of what was measured."""
        _write(self._file(of), _registry(of, run))
        if measured is not None:
            _write(self._file(of, "measured"), _registry(of, measured))

    def keep(self, of: Flow, what: Lasting) -> None:
        """Replace its file."""
        _write(self._file(of, what.name, *filter(None, [what.model])), _registry(of, what.samples))

    def forget(self, of: Flow) -> None:
        """Delete all files of the flow; no name of a flow, namespace or model has a `_`."""
        for file in [self._file(of), *self.path.glob(self._file(of, "*").name)]:
            file.unlink(missing_ok=True)

    def _file(self, of: Flow, *more: str) -> Path:
        return self.path / f"{'_'.join([JOB, *of, *more])}.prom"


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
