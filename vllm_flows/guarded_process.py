"""This process's own sinks: every log record, and all that is written to stdout and stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from vllm_flows.addresses import passwords_in
from vllm_flows.clean_errors import cleaned
from vllm_flows.redaction import collect, redacted

_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "VAULT_TOKEN", "PREFECT_API_KEY")
_LOGINS = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")
_ADDRESSES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "PREFECT_API_URL",
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "VAULT_ADDR",
)


def guard_process() -> None:
    """Keep secrets out of this process's logs and output, however often it is asked for."""
    collect_environment(os.environ)
    factory = logging.getLogRecordFactory()
    if not isinstance(factory, _Factory):
        logging.setLogRecordFactory(_Factory(factory))
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, RedactedStream):
            setattr(sys, name, RedactedStream(stream))


def collect_environment(environ: Mapping[str, str]) -> None:
    """Collect the secrets of variables that are not ours: tokens, and passwords in addresses."""
    collect(*(environ.get(name) for name in _SECRETS))
    for name in _LOGINS:
        collect(environ.get(name), environ.get(name, "").partition(":")[2])
    for name in _ADDRESSES:
        collect(*passwords_in(environ.get(name, "")))


class _Factory:
    """Makes log records without secrets, whichever handler they go to."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401 -- logging's own
        record = self._make(*args, **kwargs)
        # Arguments that do not fit are told of by the handlers, as ever.
        with suppress(Exception):
            text = record.getMessage()
            if (clean := redacted(text)) != text:
                record.msg, record.args = clean, ()
        if record.exc_info and (error := record.exc_info[1]):
            shown = cleaned(error)
            record.exc_info = (type(shown), shown, shown.__traceback__)
        return record


class RedactedStream:
    """A text stream that writes no secret; in all else it is the stream it stands for."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text, redacted; return its length."""
        self.stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write all of them, redacted."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever the stream has
        return getattr(self.stream, name)


@contextmanager
def shown_on_purpose() -> Iterator[None]:
    """Let the block print a secret on stdout: what was asked for is nothing but that."""
    guarded = sys.stdout
    if isinstance(guarded, RedactedStream):
        sys.stdout = guarded.stream
    try:
        yield
    finally:
        sys.stdout = guarded
