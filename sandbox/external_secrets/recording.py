"""Events about the controller's objects."""

from __future__ import annotations

from typing import Any

from sandbox.agent.records import timestamp

Object = dict[str, Any]


def event_of(about: Object, reason: str, message: str, *, warning: bool) -> Object:
    """Return a new event about an object; a cluster's own have theirs in `default`."""
    metadata, now = about["metadata"], timestamp()
    namespace = metadata.get("namespace", "default")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": namespace},
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": metadata["name"],
            "namespace": metadata.get("namespace", ""),
            "uid": metadata["uid"],
        },
        "reason": reason,
        "message": message,
        "type": "Warning" if warning else "Normal",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": "external-secrets"},
    }
