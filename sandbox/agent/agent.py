"""Which pods there are: follows the API and gives each pod its thread."""

from __future__ import annotations

import threading
from typing import Any

from sandbox.agent.api import ApiError, Event
from sandbox.agent.names import NODE_ANNOTATION
from sandbox.agent.node import Node
from sandbox.agent.pod import Pod, is_over

Object = dict[str, Any]


class Agent:
    """Runs the pods of every simulated node."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._pods: dict[str, Pod] = {}
        self._nodes: dict[str, bool] = {}
        self.watching = threading.Event()

    def follow(self) -> None:
        """Follow the pods for ever; `watching` is set once the first list is through."""
        for event in self._node.api.follow("/api/v1/pods", fieldSelector="spec.nodeName!="):
            if event.kind == "LISTED":
                self._forget_all_but({pod["metadata"]["uid"] for pod in event.objects})
            for pod in event.objects:
                self._take(event, pod)
            self.watching.set()

    def end(self) -> None:
        """End every container at once."""
        threads = [threading.Thread(target=pod.end) for pod in list(self._pods.values())]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _take(self, event: Event, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        known = self._pods.get(uid)
        if event.kind == "DELETED":
            if known:
                known.gone()
                del self._pods[uid]
        elif known:
            known.update(pod)
        elif self._is_ours(pod["spec"]["nodeName"]):
            if is_over(pod) and not pod["metadata"].get("deletionTimestamp"):
                return
            self._pods[uid] = Pod(self._node, pod)
            self._pods[uid].start()

    def _forget_all_but(self, there: set[str]) -> None:
        for uid in [uid for uid in self._pods if uid not in there]:
            self._pods.pop(uid).gone()

    def _is_ours(self, name: str) -> bool:
        if name not in self._nodes:
            try:
                node = self._node.api.get(f"/api/v1/nodes/{name}")
            except ApiError:
                return False
            annotations = node["metadata"].get("annotations") or {}
            self._nodes[name] = annotations.get(NODE_ANNOTATION) == "fake"
        return self._nodes[name]
