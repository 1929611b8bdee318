"""What login programs print, and how they are described."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

VERSION = "client.authentication.k8s.io/v1"
Plugin = Callable[..., dict[str, Any]]


def answer(version: str = VERSION, **status: str) -> str:
    """Return what a plugin prints that answers."""
    document = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    return json.dumps(document)
