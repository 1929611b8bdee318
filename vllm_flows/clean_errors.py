"""Errors of others that show a secret, put as errors that do not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vllm_flows.redaction import redacted


class RedactedError(Exception):
    """Stands for an error whose text shows a secret: its type and text, with `***` for that."""


def cleaned(error: BaseException) -> BaseException:
    """Return an error of which neither its text nor that of what caused it shows a secret.

    That is the error itself where its own text shows none; causes that do are replaced in it.
    """
    return _cleaned(error, {})


def _cleaned(error: BaseException, seen: dict[int, BaseException]) -> BaseException:
    if id(error) in seen:
        return seen[id(error)]
    text, found = _text(error), error
    if redacted(text) != text:
        found = RedactedError(redacted(text)).with_traceback(error.__traceback__)
    seen[id(error)] = found
    cause, context, hidden = error.__cause__, error.__context__, error.__suppress_context__
    found.__cause__ = _cleaned(cause, seen) if cause else None
    found.__context__ = _cleaned(context, seen) if context else None
    found.__suppress_context__ = hidden
    return found


def _text(error: BaseException) -> str:
    """Return all that a traceback says of the error itself."""
    inner = [repr(one) for one in getattr(error, "exceptions", ())]
    notes = [str(one) for one in getattr(error, "__notes__", ())]
    return "\n".join([f"{type(error).__name__}: {error}", *inner, *notes])


@contextmanager
def secrets_kept() -> Iterator[None]:
    """Let no error out of the block that shows a secret; as `@secrets_kept()`, of a function."""
    try:
        yield
    except BaseException as error:
        found = cleaned(error)
        if found is error:
            raise
    else:
        return
    raise found from found.__cause__
