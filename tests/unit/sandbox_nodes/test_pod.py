"""A pod of the simulated nodes follows what the API says of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from sandbox.agent.node import Node
from sandbox.agent.pod import Pod

BEGUN: dict[str, Any] = {
    "metadata": {"namespace": "team", "name": "engine", "uid": "one"},
    "spec": {"containers": []},
}
DELETED = {**BEGUN, "metadata": BEGUN["metadata"] | {"deletionTimestamp": "now"}}


class Api:
    """An API that has deleted the pod before its answer to the first status arrives."""

    def __init__(self) -> None:
        self.pod: Pod | None = None
        self.removed: list[str] = []

    def patch(self, path: str, _: object, kind: str) -> dict[str, Any]:
        assert (path, kind) == ("/api/v1/namespaces/team/pods/engine/status", "strategic")
        if self.pod:
            self.pod.update(DELETED)
        return BEGUN

    def delete(self, path: str, **_: object) -> None:
        self.removed.append(path)


def node(folder: Path, api: Api) -> Node:
    """Return what a pod needs of its node."""
    nothing = SimpleNamespace(record=lambda *_, **__: None, forget=lambda _: None)
    addresses = SimpleNamespace(take=lambda kept: kept or "10.0.0.1", release=lambda _: None)
    made = SimpleNamespace(
        api=api,
        recorder=nothing,
        addresses=addresses,
        pod_folder=lambda uid: folder / uid,
    )
    return cast("Node", made)


def test_a_pod_that_is_deleted_while_its_status_is_written_is_ended(tmp_path: Path):
    api = Api()
    pod = Pod(node(tmp_path, api), BEGUN)
    api.pod = pod
    pod.start()
    pod.join(1.5)
    assert api.removed == ["/api/v1/namespaces/team/pods/engine"]
