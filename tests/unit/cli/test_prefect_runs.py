"""What of Prefect's own log a person sees while a flow runs."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator

import httpx
import pytest

from cli import prefect_runs
from vllm_flows.errors import ConfigurationError, VllmFlowsError

ASKED = httpx.Request("GET", "http://host/api")
NO = httpx.Response(401, request=ASKED)
INTERNAL = logging.getLogger("prefect._internal")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    importlib.import_module("tasks.running")  # which brings Prefect and its configuration
    loggers = [
        logging.getLogger(name)
        for name in ("", "prefect._internal", "prefect.flow_runs", "prefect.task_runs")
    ]
    before = [(list(one.handlers), one.level) for one in loggers]
    yield
    for one, (handlers, level) in zip(loggers, before, strict=True):
        one.handlers = handlers
        one.setLevel(level)


@pytest.mark.parametrize(("level", "seen"), [(logging.ERROR, False), (logging.DEBUG, True)])
def test_how_prefects_own_services_end_is_only_seen_by_who_debugs_it(level: int, *, seen: bool):
    told: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = told.append  # type: ignore[method-assign]  # notes what is said
    INTERNAL.handlers = [handler]
    INTERNAL.setLevel(level)
    prefect_runs._speak_plainly(None)  # noqa: SLF001 -- a flow is not run for it
    INTERNAL.error("Service %r failed with %s pending items.", "EventsWorker", 0)
    assert bool(told) == seen


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.ConnectError("http://me:canary@host"), ConfigurationError),
        (
            httpx.HTTPStatusError("for http://me:canary@host", request=ASKED, response=NO),
            VllmFlowsError,
        ),
    ],
)
def test_a_password_in_the_servers_address_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
):
    monkeypatch.setenv("PREFECT_API_URL", "http://me:canary@host/api")
    with pytest.raises(kind) as caught, prefect_runs.explained():
        raise error
    assert "http://***@host/api" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_server_that_stays_away_is_named_and_other_errors_come_through():
    away = RuntimeError("Service exceeded error threshold.")
    with pytest.raises(ConfigurationError, match="does not answer"), prefect_runs.explained():
        raise ExceptionGroup("unhandled errors in a TaskGroup", [away])
    with pytest.raises(ExceptionGroup), prefect_runs.explained():
        raise ExceptionGroup("unhandled errors in a TaskGroup", [ValueError("else")])
