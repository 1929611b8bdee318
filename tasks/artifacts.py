"""What a run shows in the Prefect UI beside its log: tables, pages and bars, without secrets.

They are for eyes alone: a server that takes none, however often it is asked, fails no run. A server
may have those of many namespaces: after `show_for` each key and description says of which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from tasks.running import say
from vllm_flows.redaction import redacted

_NAMESPACE: ContextVar[str] = ContextVar("namespace of the artifacts", default="")


def show_for(namespace: str) -> None:
    """Let what this run and its tasks show from now on, to its very end, be of a namespace."""
    _NAMESPACE.set(namespace)


def _named(key: str, description: str) -> dict[str, str]:
    """Return key and description as the server is to have them."""
    namespace, text = _NAMESPACE.get(), redacted(description)
    if not namespace:
        return {"key": key, "description": text}
    return {"key": f"{key}-{namespace}", "description": f"Namespace {namespace}. {text}"}


def publish_table(rows: Sequence[Mapping[str, Any]], key: str, description: str) -> None:
    """Show a table; under the same key the older ones are its history."""
    shown = [
        {name: redacted(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in rows
    ]
    with _if_it_can_be(key):
        create_table_artifact(table=shown, **_named(key, description))


def publish_page(markdown: str, key: str, description: str) -> None:
    """Show a page; under the same key the older ones are its history."""
    with _if_it_can_be(key):
        create_markdown_artifact(markdown=redacted(markdown), **_named(key, description))


def publish_progress(
    artifact: UUID | None, share: float, key: str, description: str
) -> UUID | None:
    """Show a bar at `share` percent, the same as before when there is one; return which it is."""
    named = _named(key, description)
    with _if_it_can_be(key):
        if artifact is None:
            made = create_progress_artifact(progress=share, **named)
            return made if isinstance(made, UUID) else None
        update_progress_artifact(artifact, progress=share, description=named["description"])
    return artifact


@contextmanager
def _if_it_can_be(key: str) -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        say(f"the Prefect server does not take {key}: {type(error).__name__}")
