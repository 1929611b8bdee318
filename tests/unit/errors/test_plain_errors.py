"""What Prefect's log says of errors that we raise on purpose, and of those that we do not."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tasks.plain_errors import PlainErrors, tell_errors_plainly
from vllm_flows.errors import LockedError

LOCKED = "the namespace is locked", "held by cron pid 7", "kubectl get lease vllm-flows"


def locked() -> LockedError:
    what, why, then = LOCKED
    return LockedError(what, why=why, next_command=then)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    """Give tests a log as Prefect has one for its runs."""
    logger = logging.getLogger("a run's")
    logger.addFilter(PlainErrors())
    caplog.set_level(logging.INFO)
    yield logger
    logger.filters.clear()


def fail(log: logging.Logger, error: Exception) -> None:
    """Log an error in the words of Prefect's flow engine."""
    try:
        raise error
    except type(error) as raised:
        log.exception("Encountered exception during execution: %r", raised)  # noqa: TRY401 -- its words


def test_an_error_of_ours_is_its_text_without_a_traceback(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
):
    fail(log, locked())
    (record,) = caplog.records
    assert record.getMessage() == str(locked())
    assert record.levelno == logging.ERROR
    assert "Traceback" not in caplog.text
    assert all(part in caplog.text for part in LOCKED)


def test_an_error_that_comes_through_a_task_and_its_flow_is_told_once(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
):
    error = locked()
    for _ in range(3):
        fail(log, error)
    fail(log, locked())
    assert len(caplog.records) == 2


def test_what_nobody_expected_keeps_its_traceback_and_other_lines_their_words(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
):
    fail(log, ValueError("odd"))
    log.info("%s: ready", "qwen3")
    assert "Traceback" in caplog.text
    assert caplog.records[-1].getMessage() == "qwen3: ready"


def test_who_looks_for_a_fault_sees_every_traceback(
    log: logging.Logger, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG, logger=log.name)
    error = locked()
    fail(log, error)
    fail(log, error)
    assert caplog.text.count("Traceback") == 2


def test_flow_runs_and_task_runs_are_told_so_once_for_all(monkeypatch: pytest.MonkeyPatch):
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
    tell_errors_plainly()
    tell_errors_plainly()
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        assert len(logging.getLogger(name).filters) == 1
