"""Telling how a run ended, and what it measured, where the settings name a place for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vllm_flows.metrics import Measured, exit_code, lasting, of_measured, of_run, outdated_by
from vllm_flows.redaction import redacted
from vllm_flows.settings import Settings


@contextmanager
def told(
    settings: Settings,
    flow: str,
    say: Callable[[str], None],
    now: Callable[[], float] = time.time,
    goes_on: tuple[type[BaseException], ...] = (),
) -> Iterator[Measured]:
    """Tell of the block as of a run of the flow, however it ends; what it yields is filled there.

    Of a run that leaves it by one of `goes_on` nothing is told: it has not ended. What cannot be
    told is said, and changes nothing else.
    """
    measured: Measured = {}
    begin, ended_by, ended = now(), None, True
    try:
        yield measured
    except BaseException as error:
        ended_by, ended = error, not isinstance(error, goes_on)
        raise
    finally:
        if ended and (settings.pushgateway or settings.metrics_dir):
            _tell(settings, flow, say, measured, (begin, now(), exit_code(ended_by)))


def _tell(
    settings: Settings,
    flow: str,
    say: Callable[[str], None],
    measured: Measured,
    run: tuple[float, float, int],
) -> None:
    from vllm_flows.metrics_sink import Flow, sinks  # only where somebody wants metrics

    _, end, code = run
    for sink in sinks(settings):
        try:
            of = Flow(settings.namespace, flow)
            sink.tell(of, of_run(*run), of_measured(measured, end))
            for one in lasting(measured, end, code):
                sink.keep(of, one)
            for other in outdated_by(flow, code):
                sink.forget(Flow(settings.namespace, other))
        except OSError as error:
            why = error.strerror or error
            say(redacted(f"warning: the metrics of this run did not reach {sink.name}: {why}"))
