"""Logs and output of this process, whoever writes them, hold nothing that was collected."""

from __future__ import annotations

import io
import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import pytest
from prefect.logging.formatters import JsonFormatter

from vllm_flows.errors import ClusterError
from vllm_flows.guarded_process import (
    RedactedStream,
    collect_environment,
    guard_process,
    shown_on_purpose,
)
from vllm_flows.redaction import collect, redacted

CANARY = "planted-canary"


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    """Guard the logs; give what can stand for stdout and stderr."""
    factory = logging.getLogRecordFactory()
    with writing_to(io.StringIO()) as text:
        collect(CANARY)
        yield text
    logging.setLogRecordFactory(factory)


@contextmanager
def writing_to(text: io.StringIO) -> Iterator[io.StringIO]:
    """Guard this process, its stdout and stderr being one text."""
    with redirect_stdout(text), redirect_stderr(text):
        guard_process()
        yield text


def fail(error: Exception) -> None:
    raise error


@pytest.fixture
def log(output: io.StringIO) -> Iterator[logging.Logger]:
    """Give a logger of somebody else's, with a handler of the standard library."""
    logger, handler = logging.getLogger("urllib3.of-a-test"), logging.StreamHandler(output)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.removeHandler(handler)
    logger.filters.clear()


def test_no_log_record_shows_it(log: logging.Logger, output: io.StringIO):
    log.debug("send: %r", {"authorization": f"Bearer {CANARY}"})
    log.info(f"token {CANARY}")  # noqa: G004 -- others do
    log.warning("%(token)s", {"token": CANARY})
    log.warning(ValueError(CANARY))
    assert output.getvalue().count("***") == 4
    assert CANARY not in output.getvalue()


def test_no_traceback_in_a_log_shows_it(log: logging.Logger, output: io.StringIO):
    error = ClusterError("refused")
    error.__cause__ = ValueError(CANARY)
    try:
        fail(error)
    except ClusterError:
        log.exception("it failed")
    assert "Traceback" in output.getvalue()
    assert "ValueError: ***" in output.getvalue()
    assert CANARY not in output.getvalue()


def test_nor_does_a_log_that_is_written_as_json(log: logging.Logger, output: io.StringIO):
    log.handlers[0].setFormatter(JsonFormatter("default", "", "%"))
    try:
        fail(ValueError(CANARY))
    except ValueError as error:
        log.exception("of %s: %r", [CANARY], error)  # noqa: TRY401 -- Prefect's words
    assert json.loads(output.getvalue())["name"] == "urllib3.of-a-test"
    assert CANARY not in output.getvalue()


def test_an_error_of_ours_in_a_log_stays_the_same_object(log: logging.Logger):
    seen: list[object] = []
    log.addFilter(lambda record: bool(seen.append(record.exc_info[1])))
    error = ClusterError("refused")
    error.__cause__ = ValueError(CANARY)
    try:
        fail(error)
    except ClusterError:
        log.exception("it failed")
    assert seen == [error]


def test_arguments_that_do_not_fit_end_nothing(log: logging.Logger, output: io.StringIO):
    record = log.makeRecord(log.name, logging.INFO, "", 1, "%s and %s", (CANARY,), None)
    with writing_to(output):
        log.handlers[0].handle(record)
    assert "Logging error" in output.getvalue()
    assert CANARY not in output.getvalue()


def test_whatever_is_printed_is_looked_at(output: io.StringIO):
    with writing_to(output):
        print("key", CANARY)  # noqa: T201 -- others do
        sys.stderr.writelines([f"{CANARY}\n"])
        try:
            fail(ValueError(CANARY))
        except ValueError:
            traceback.print_exc()
    assert output.getvalue().count("***") >= 3
    assert CANARY not in output.getvalue()


def test_what_is_asked_for_is_printed_as_it_is_and_nothing_behind_it(output: io.StringIO):
    with writing_to(output):
        with shown_on_purpose():
            print(CANARY)  # noqa: T201 -- as get-api-key does
        print(CANARY)  # noqa: T201 -- likewise
    assert output.getvalue() == f"{CANARY}\n***\n"


def test_it_can_be_asked_for_often(output: io.StringIO):
    with writing_to(output):
        factory = logging.getLogRecordFactory()
        guard_process()
        assert logging.getLogRecordFactory() is factory
        stream = sys.stdout
    assert isinstance(stream, RedactedStream)
    assert stream.stream is output


def test_a_guarded_stream_is_in_all_else_the_stream_it_stands_for():
    stream = RedactedStream(sys.__stderr__ or sys.stderr)
    assert stream.fileno() == 2
    assert RedactedStream(io.StringIO()).write(f"{CANARY}\n") == len(CANARY) + 1
    assert stream.encoding == "utf-8"
    assert isinstance(stream.isatty(), bool)


def test_secrets_of_variables_that_are_not_ours_are_collected():
    collect_environment(
        {
            "HF_TOKEN": "hf_planted1",
            "VAULT_TOKEN": "hvs.planted2",
            "HTTPS_PROXY": "http://user:planted%2D3@proxy:3128",
            "PREFECT_API_AUTH_STRING": "admin:planted-4",
            "PREFECT_API_URL": "http://me:planted-5@prefect/api",
            "HTTP_PROXY": "http://[not an address",
            "HOME": "/home/planted-6",
        }
    )
    texts = ["hf_planted1", "hvs.planted2", "planted%2D3", "planted-3", "planted-4", "planted-5"]
    assert {redacted(text) for text in texts} == {"***"}
    assert redacted("/home/planted-6") == "/home/planted-6"
