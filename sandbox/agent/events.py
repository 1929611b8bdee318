"""Events about pods, counted when they repeat, as a kubelet writes them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from sandbox.agent.api import Api, ApiError
from sandbox.agent.records import timestamp

Object = dict[str, Any]


class Recorder:
    """Writes events; one that the API refuses is dropped, as a kubelet drops it."""

    def __init__(self, api: Api, describe: Callable[..., Object] | None = None) -> None:
        """Write through `api`; `describe` makes events about other things than pods."""
        self._api = api
        self._describe = describe or event_of
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, str], tuple[str, int]] = {}

    def record(self, pod: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """Write an event about a pod, or count the same one up."""
        metadata = pod["metadata"]
        key = (metadata["uid"], reason, message)
        path = f"/api/v1/namespaces/{metadata.get('namespace', 'default')}/events"
        with self._lock:
            name, count = self._known.get(key, ("", 0))
        try:
            if name:
                body = {"count": count + 1, "lastTimestamp": timestamp()}
                self._api.patch(f"{path}/{name}", body)
            else:
                event = self._describe(pod, reason, message, warning=warning)
                name = self._api.create(path, event)["metadata"]["name"]
        except ApiError:
            return
        with self._lock:
            self._known[key] = (name, count + 1)

    def forget(self, pod: Object) -> None:
        """Forget the events of a pod that is gone."""
        uid = pod["metadata"]["uid"]
        with self._lock:
            self._known = {key: value for key, value in self._known.items() if key[0] != uid}


def event_of(pod: Object, reason: str, message: str, *, warning: bool) -> Object:
    """Return a new event about a pod."""
    metadata, now = pod["metadata"], timestamp()
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "reason": reason,
        "message": message,
        "type": "Warning" if warning else "Normal",
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": "kubelet", "host": pod["spec"].get("nodeName", "")},
        "reportingComponent": "kubelet",
        "reportingInstance": pod["spec"].get("nodeName", ""),
    }
