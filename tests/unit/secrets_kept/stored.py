"""API keys as they are given, and as they are found."""

from __future__ import annotations

from tests.unit.secrets_kept.conftest import World, encoded
from vllm_flows.credentials import API_KEY, Credential

PATH = "vllm/api-key"
OURS = {"app.kubernetes.io/managed-by": "vllm-flows"}


def given(value: str = "sk-new", *, stored: bool = False) -> Credential:
    """Return a key that the environment gives."""
    return Credential(value, "VLLM_API_KEY", stored=stored)


def plain(world: World, value: str = "sk-old", labels: dict[str, str] | None = None) -> None:
    """Have the key in a plain Secret; without other labels in one of ours."""
    world.items["Secret", API_KEY.secret] = {
        "kind": "Secret",
        "metadata": {"name": API_KEY.secret, "labels": dict(OURS) if labels is None else labels},
        "data": {API_KEY.key: encoded(value)},
    }
