"""The memory of tracked revisions in the cluster: one ConfigMap per namespace.

Nobody holds a lock for it: who writes says which version was read, and whoever was slower reads
again.
"""

from __future__ import annotations

from dataclasses import dataclass

from vllm_flows.cluster import Cluster
from vllm_flows.observed import MANAGED_BY
from vllm_flows.revision_memory import Memory, read_memory, written

CONFIG_MAP = "vllm-flows-revisions"


@dataclass(frozen=True)
class Stored:
    """The memory as it was read; `version` is "" where there was none."""

    memory: Memory
    version: str = ""


def read_stored(cluster: Cluster) -> Stored:
    """Return what is remembered in the cluster's namespace."""
    found = cluster.get("ConfigMap", CONFIG_MAP)
    if found is None:
        return Stored(Memory())
    return Stored(read_memory(found.get("data") or {}), found["metadata"]["resourceVersion"])


def store(cluster: Cluster, before: Stored, memory: Memory) -> None:
    """Write the memory where it differs from what was read.

    Raises ConflictError when somebody else has written since.
    """
    if memory == before.memory:
        return
    metadata = {"name": CONFIG_MAP, "labels": dict(MANAGED_BY)}
    if not before.version:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        cluster.create({**body, "data": written(memory)})
        return
    cluster.merge(
        "ConfigMap",
        CONFIG_MAP,
        {
            "metadata": {"resourceVersion": before.version},
            "data": {**dict.fromkeys(written(before.memory)), **written(memory)},
        },
    )
