"""Keeping the token and signed addresses out of what the program of a weights Job says.

Part of the program that runs in the engine image: it uses the standard library alone.
"""

from __future__ import annotations

import io
import re
import threading
from typing import TextIO

_QUERY = re.compile(r"(https?://[^\s?\"'<>]+)\?[^\s\"'<>]+")
"""Of a whole address nothing in the query is worth a risk."""
_SIGNED = re.compile(
    r"((?:x-amz-|x-goog-|x-ms-)[\w-]+|[\w-]*?(?:signature|policy|key-pair-id|credential|token)"
    r"|\bsig)(=|%3D)[^\s&\"'<>]+",
    re.IGNORECASE,
)
"""What S3, CloudFront, Google and Azure sign with, in a piece of an address or by itself."""
_BEARER = re.compile(r"(bearer )[^\s\"'<>]+", re.IGNORECASE)


def redacted(text: str, token: str) -> str:
    """Return a text for people without the token, other bearers and signatures of addresses."""
    for word in token.split():
        text = text.replace(word, "***")
    text = _SIGNED.sub(r"\1\2***", _QUERY.sub(r"\1", text))
    return _BEARER.sub(r"\1***", text)


class RedactedStream(io.TextIOBase):
    """Passes lines on, redacted: what is printed in pieces is looked at as a whole line."""

    def __init__(self, target: TextIO, token: str) -> None:
        super().__init__()
        self._target = target
        self._token = token
        self._rest = ""
        self._lock = threading.RLock()  # while a thread prints, it may have to print of a finalizer

    def write(self, text: str) -> int:
        """Keep the text until its line ends."""
        with self._lock:
            lines, end, self._rest = (self._rest + text).rpartition("\n")
            self._pass_on(lines + end)
        return len(text)

    def flush(self) -> None:
        """Pass on also what has not ended."""
        with self._lock:
            text, self._rest = self._rest, ""
            self._pass_on(text)

    def _pass_on(self, text: str) -> None:
        self._target.write(redacted(text, self._token))
        self._target.flush()
