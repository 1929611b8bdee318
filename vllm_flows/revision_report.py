"""What was seen of tracked revisions, for tables, JSON and events. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_flows.revision_class import MOVED
from vllm_flows.revision_memory import Seen, Told

EVENT = "huggingface.model.revision"
"""The name of the Prefect event that tells of a moved revision."""
_SHORT = 8


def revision_data(seen: Sequence[Seen]) -> list[dict[str, Any]]:
    """Return a document for each model, for programs."""
    return [
        {
            "model": one.model,
            "repository": one.repository,
            "ref": one.ref,
            "served": one.served,
            "tracked": one.now,
            "class": str(one.change),
            "reasons": list(one.reasons),
            "files": list(one.files),
            "refused": one.refused or None,
            "unproven": one.unproven,
            "runs": one.runs,
            "asks": one.asks,
        }
        for one in seen
    ]


def revision_rows(data: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each document of `revision_data`, for people."""
    return [
        {
            "model": one["model"],
            "repository": one["repository"],
            "revision": one["ref"][:40],
            "served": one["served"][:_SHORT] or "-",
            "now": one["tracked"][:_SHORT] or "-",
            "change": one["class"],
            "what": "; ".join(
                _became(one["refused"], one["runs"], one["asks"]) + (one["reasons"] or one["files"])
            )
            or "-",
        }
        for one in data
    ]


def revision_lines(seen: Sequence[Seen]) -> list[str]:
    """Return a line for each model of which there is something to say."""
    return [
        f"{one.model}: {one.ref} moved from {one.served[:_SHORT]} to {one.now[:_SHORT]}: "
        f"{one.change}{_because(one)}"
        if one.change in MOVED
        else f"{one.model}: {one.change}{_because(one)}"
        for one in seen
        if one.change in MOVED or one.reasons or one.unproven
    ]


def _became(refused: str | None, runs: str, asks: str) -> list[str]:
    tried = f"was tried and did not do: {refused}" if refused else ""
    unseen = f"{runs[:_SHORT]} runs and was not seen to answer: `{asks}` asks it" if asks else ""
    return [text for text in (tried, unseen) if text]


def _because(seen: Seen) -> str:
    became = _became(seen.refused, seen.runs, seen.asks)
    texts = [*became, *(seen.reasons or seen.files)]
    return f" ({'; '.join(texts)})" if texts else ""


def event_of(seen: Seen, told: Told, namespace: str, place: str) -> dict[str, Any]:
    """Return the event as Prefect's API takes it, but for the moment it is sent at."""
    resource = {
        "prefect.resource.id": f"huggingface.model.{seen.repository.replace('/', '.')}",
        "prefect.resource.name": seen.repository,
        "vllm-flows.model": seen.model,
        "vllm-flows.namespace": namespace,
        "vllm-flows.class": told.change,
    }
    payload = {
        "model": seen.model,
        "namespace": namespace,
        "repository": seen.repository,
        "ref": seen.ref,
        "old": told.old,
        "new": told.new,
        "class": told.change,
        "reasons": list(told.reasons),
        "files": list(told.files),
    }
    return {
        "id": str(told.id_for(place, seen.model)),
        "event": EVENT,
        "resource": resource,
        "payload": payload,
    }
