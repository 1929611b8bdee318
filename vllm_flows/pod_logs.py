"""The adapter to the logs of pods: lines as they are written, each with its time stamp."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from kubernetes import client as kubernetes_client

from vllm_flows.cluster import Cluster, explained
from vllm_flows.completion_checks import split_lines
from vllm_flows.log_sources import Source

_CONNECT_SECONDS = 5.0
_QUIET_SECONDS = 60.0
"""A log may be quiet for hours, and a connection dead without a word: it is made anew."""
_CHUNK_BYTES = 65536


def read_log(
    cluster: Cluster,
    source: Source,
    *,
    tail: int | None = None,
    seconds: float | None = None,
    previous: bool = False,
    follow: bool = False,
) -> Iterator[bytes]:
    """Yield the lines of a container's log: the last `tail`, those of the last `seconds`, or all.

    `previous` is the run before the one of now. `follow` goes on until the container ends; a minute
    without a line raises ClusterUnavailableError, as does an API that does not answer. Raises
    ClusterError when the API refuses, as for a pod that is gone. Secrets that the lines may show
    are collected before.
    """
    cluster.collect_secrets()
    # Its types are those of the answer as an object; asked for unread, it is urllib3's.
    core: Any = kubernetes_client.CoreV1Api(cluster.api.client)
    chosen = {
        "tail_lines": tail,
        "since_seconds": None if seconds is None else max(1, math.ceil(seconds)),
        "previous": previous or None,
        "follow": follow or None,
    }
    with explained(f"read the log of pod {source.pod}"):
        response = core.read_namespaced_pod_log(
            source.pod,
            cluster.namespace,
            container=source.container,
            timestamps=True,
            _preload_content=False,
            _request_timeout=(_CONNECT_SECONDS, _QUIET_SECONDS),
            **{name: value for name, value in chosen.items() if value is not None},
        )
        try:
            yield from split_lines(response.stream(_CHUNK_BYTES, decode_content=False))
        finally:
            response.close()
