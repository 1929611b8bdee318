"""Events about objects, counted when they repeat, as a kubelet and controllers write them."""

from __future__ import annotations

import threading
from typing import Any

from sandbox.agent.api import Api, ApiError
from sandbox.agent.records import timestamp

Object = dict[str, Any]


class Recorder:
    """Writes events; one that the API refuses is dropped, as a kubelet drops it."""

    def __init__(self, api: Api, component: str = "kubelet") -> None:
        """Write through `api`, in the name of a component."""
        self._api = api
        self._component = component
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str, str], tuple[str, int]] = {}

    def record(self, about: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """Write an event about an object, or count the same one up."""
        metadata = about["metadata"]
        key = (metadata["uid"], reason, message)
        path = f"/api/v1/namespaces/{_namespace(about)}/events"
        with self._lock:
            name, count = self._known.get(key, ("", 0))
        try:
            if name:
                body = {"count": count + 1, "lastTimestamp": timestamp()}
                self._api.patch(f"{path}/{name}", body)
            else:
                event = event_of(about, reason, message, self._component, warning=warning)
                name = self._api.create(path, event)["metadata"]["name"]
        except ApiError:
            return
        with self._lock:
            self._known[key] = (name, count + 1)

    def forget(self, about: Object) -> None:
        """Forget the events of an object that is gone."""
        uid = about["metadata"]["uid"]
        with self._lock:
            self._known = {key: value for key, value in self._known.items() if key[0] != uid}


def event_of(about: Object, reason: str, message: str, component: str, *, warning: bool) -> Object:
    """Return a new event about an object; one without a kind is a pod, as a list has them."""
    metadata, now = about["metadata"], timestamp()
    host = (about.get("spec") or {}).get("nodeName", "")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name']}.", "namespace": _namespace(about)},
        "involvedObject": {
            "apiVersion": about.get("apiVersion", "v1"),
            "kind": about.get("kind", "Pod"),
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
        "source": {"component": component} | ({"host": host} if host else {}),
        "reportingComponent": component,
        "reportingInstance": host,
    }


def _namespace(about: Object) -> str:
    """Say where an object's events are; a cluster's own have theirs in `default`."""
    return str(about["metadata"].get("namespace", "default"))
