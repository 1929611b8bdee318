"""Names that the chart gives its objects, the same on versions 0.1.8 to 0.1.12; lists of names."""

from __future__ import annotations

from collections.abc import Iterable

RELEASE = "vllm"
"""The Helm release's name; the chart's object names begin with it."""

ROUTER_SERVICE = f"{RELEASE}-router-service"
ROUTER_DEPLOYMENT = f"{RELEASE}-deployment-router"
ROUTER_CONTAINER = "router-container"


def engine_deployment(model: str) -> str:
    """Return the name of a model's Deployment."""
    return f"{RELEASE}-{model}-deployment-vllm"


def engine_service(model: str) -> str:
    """Return the name of a model's own Service."""
    return f"{RELEASE}-{model}-engine-service"


def some_of(names: Iterable[str], most: int = 20) -> str:
    """Name some and count the rest; "" when there are none."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more
