"""Secrets taken out of whatever leaves this process, by their value.

Whoever reads a secret, from wherever, says so once with `collect`. Whatever shows, stores or sends
a text passes it through `redacted`: logs, states, artifacts, results, errors, the command line.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import AnyStr

from vllm_flows.secret_forms import forms

SHORTEST = 8
"""Characters; a shorter value would also stand in words, and is left alone."""
STARS = "***"


class Redactor:
    """The secrets that were collected, ready to be found in texts. For many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._texts: tuple[str, ...] = ()
        self._bytes: tuple[bytes, ...] = ()

    def collect(self, values: Iterable[str], *, encoded: bool = True) -> None:
        """Take these out of every text from now on; blanks around a value are not part of it.

        `encoded`: in all their forms, not only as they are.
        """
        texts = {value.strip() for value in values}
        new = {text for text in texts - self._values if len(text) >= SHORTEST}
        if new:
            self._add(new, {form for text in new for form in forms(text)} if encoded else new)

    def _add(self, values: set[str], found: set[str]) -> None:
        with self._lock:
            # The longest first: one may be part of another.
            known = sorted({*self._texts, *found}, key=lambda form: (-len(form), form))
            self._bytes = tuple(form.encode() for form in known)
            self._texts = tuple(known)
            self._values |= values

    def redacted(self, text: str) -> str:
        """Return the text with `***` in place of each secret."""
        return _replaced(text, self._texts, STARS)

    def redacted_bytes(self, data: bytes) -> bytes:
        """Return the bytes with `***` in place of each secret."""
        return _replaced(data, self._bytes, STARS.encode())

    def masked(self, data: bytes) -> bytes:
        """Return the bytes, as many as before, with a star for each byte of a secret."""
        for form in self._bytes:
            if form in data:
                data = data.replace(form, b"*" * len(form))
        return data


def _replaced(text: AnyStr, forms_there: tuple[AnyStr, ...], stars: AnyStr) -> AnyStr:
    for form in forms_there:
        if form in text:
            text = text.replace(form, stars)
    return text


process = Redactor()
"""What this process has read."""


def collect(*values: str | None) -> None:
    """Keep these secrets out of everything that leaves this process from now on.

    To be called where a secret is read, typed, made or answered, before anything can be said of it.
    None, what is collected already and values of less than eight characters are passed over, so
    calling it often costs nothing.
    """
    process.collect(value for value in values if value)


def collect_lines(lines: Iterable[str]) -> None:
    """Keep the lines of a private key out as they are: no one line is encoded alone."""
    process.collect(lines, encoded=False)


def redacted(text: str) -> str:
    """Return the text with `***` in place of each secret, in whatever form it stands there."""
    return process.redacted(text)


def redacted_bytes(data: bytes) -> bytes:
    """Return the bytes with `***` in place of each secret, in whatever form it stands there."""
    return process.redacted_bytes(data)


def masked(data: bytes) -> bytes:
    """Return the bytes, as many as before, with a star for each byte of a secret.

    What says in itself how long its parts are, such as a pickle, can still be read.
    """
    return process.masked(data)
