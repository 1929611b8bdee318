"""An event says what it is about, and who tells of it."""

from __future__ import annotations

from typing import Any

from sandbox.agent.api import ApiError
from sandbox.agent.events import Recorder

POD = {
    "metadata": {"name": "qwen", "namespace": "ns", "uid": "1"},
    "spec": {"nodeName": "gpu-0"},
}
STORE = {
    "apiVersion": "external-secrets.io/v1",
    "kind": "ClusterSecretStore",
    "metadata": {"name": "store", "uid": "2"},
    "spec": {"provider": {}},
}


class Api:
    """Notes what is written."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.written: list[tuple[str, dict[str, Any]]] = []
        self._refuses = refuses

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self._refuses:
            raise ApiError(403, "no")
        self.written.append((path, body))
        return {"metadata": {"name": "event-1"}}

    def patch(self, path: str, body: dict[str, Any]) -> None:
        self.written.append((path, body))


def written(about: Any, component: str) -> tuple[str, dict[str, Any]]:
    api: Any = Api()
    Recorder(api, component).record(about, "Why", "what", warning=True)
    ((path, event),) = api.written
    return path, event


def test_a_pod_of_a_list_has_no_kind_and_its_node_tells() -> None:
    path, event = written(POD, "kubelet")
    assert path == "/api/v1/namespaces/ns/events"
    about = event["involvedObject"]
    assert (about["apiVersion"], about["kind"], about["uid"]) == ("v1", "Pod", "1")
    assert event["source"] == {"component": "kubelet", "host": "gpu-0"}
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Why", "what")


def test_what_is_the_clusters_own_has_its_events_in_the_namespace_default() -> None:
    path, event = written(STORE, "external-secrets")
    assert path == "/api/v1/namespaces/default/events"
    about = event["involvedObject"]
    assert (about["kind"], about["namespace"]) == ("ClusterSecretStore", "")
    assert event["source"] == {"component": "external-secrets"}


def test_the_same_event_is_counted_up_and_forgotten_with_its_object() -> None:
    api: Any = Api()
    recorder = Recorder(api)
    for _ in range(2):
        recorder.record(POD, "Why", "what")
    path, patch = api.written[1]
    assert (path, patch["count"]) == ("/api/v1/namespaces/ns/events/event-1", 2)
    recorder.forget(POD)
    recorder.record(POD, "Why", "what")
    assert api.written[2][1]["count"] == 1


def test_one_that_is_refused_is_dropped() -> None:
    api: Any = Api(refuses=True)
    Recorder(api).record(POD, "Why", "what")
    assert api.written == []
