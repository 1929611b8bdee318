"""A namespace's ConfigMap, to which others may write between a reading and a writing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vllm_flows.errors import ConflictError
from vllm_flows.health_memory import CONFIG_MAP, Memory, memories


@dataclass
class Remembering:
    """A cluster with nothing but the ConfigMap; `data` is None before it is there.

    `others` are the entries that somebody else writes just before each of our writes.
    """

    data: dict[str, Any] | None = None
    error: Exception | None = None
    others: list[dict[str, Any]] = field(default_factory=list)
    version: int = 1

    def memories(self) -> dict[str, Memory]:
        """Return what is remembered."""
        return memories({"data": self.data})

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return it as it is now; its namespace is there."""
        if kind == "Namespace":
            return {"metadata": {"name": name}}
        assert (kind, name) == ("ConfigMap", CONFIG_MAP)
        if self.data is None:
            return None
        return {"metadata": {"resourceVersion": str(self.version)}, "data": dict(self.data)}

    def create(self, body: dict[str, Any]) -> None:
        """Make it; it may be there by now."""
        if self.error:
            raise self.error
        self._write_others()
        if self.data is not None:
            raise ConflictError("it is there")
        self.data = dict(body["data"])

    def merge(self, kind: str, name: str, fields: dict[str, Any]) -> None:
        """Change it, if nobody has since it was read."""
        assert (kind, name) == ("ConfigMap", CONFIG_MAP)
        self._write_others()
        if fields["metadata"]["resourceVersion"] != str(self.version):
            raise ConflictError("it was changed")
        self._set(fields["data"])

    def _write_others(self) -> None:
        if self.others:
            self._set(self.others.pop(0))

    def _set(self, entries: dict[str, Any]) -> None:
        merged = {**(self.data or {}), **entries}
        self.data = {key: text for key, text in merged.items() if text is not None}
        self.version += 1
