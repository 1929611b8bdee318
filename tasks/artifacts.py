"""What a run shows in the Prefect UI beside its log: tables, pages and bars, without secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from vllm_flows.redaction import redacted


def publish_table(rows: Sequence[Mapping[str, Any]], key: str, description: str) -> None:
    """Show a table; under the same key the older ones are its history."""
    shown = [
        {name: redacted(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in rows
    ]
    create_table_artifact(table=shown, key=key, description=redacted(description))


def publish_page(markdown: str, key: str, description: str) -> None:
    """Show a page; under the same key the older ones are its history."""
    create_markdown_artifact(
        markdown=redacted(markdown), key=key, description=redacted(description)
    )


def publish_progress(
    artifact: UUID | None, share: float, key: str, description: str
) -> UUID | None:
    """Show a bar at `share` percent, the same as before when there is one; return which it is."""
    text = redacted(description)
    if artifact is not None:
        update_progress_artifact(artifact, progress=share, description=text)
        return artifact
    made = create_progress_artifact(progress=share, key=key, description=text)
    return made if isinstance(made, UUID) else None
