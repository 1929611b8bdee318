"""Telling KWOK and the router where a pod's ports and logs really are.

KWOK (0.8) answers `kubectl port-forward` and `kubectl logs` for a pod from objects of kind
PortForward and Logs that have the pod's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.agent.names import ADDRESS_ANNOTATION
from sandbox.agent.node import Node

Object = dict[str, Any]

_GROUP = "kwok.x-k8s.io/v1alpha1"


def publish_ports(node: Node, pod: Object, path: str, ports: Mapping[int, int]) -> None:
    """Lead port-forwards to the local ports and annotate the pod with its address.

    Raises ApiError.
    """
    forwards = [
        {"ports": [port], "target": {"address": "127.0.0.1", "port": local}}
        for port, local in ports.items()
    ]
    _apply(node, pod, "PortForward", "portforwards", {"forwards": forwards})
    address = f"127.0.0.1:{next(iter(ports.values()))}"
    node.api.patch(path, {"metadata": {"annotations": {ADDRESS_ANNOTATION: address}}})


def publish_logs(node: Node, pod: Object) -> None:
    """Lead log requests to the newest log of each container; raises ApiError."""
    spec = pod["spec"]
    names = [each["name"] for each in [*(spec.get("initContainers") or []), *spec["containers"]]]
    logs = [
        {
            "containers": [name],
            "logsFile": str(node.log(pod, name, "current")),
            "previousLogsFile": str(node.log(pod, name, "previous")),
            "follow": True,
        }
        for name in names
    ]
    _apply(node, pod, "Logs", "logs", {"logs": logs})


def _apply(node: Node, pod: Object, kind: str, plural: str, spec: Object) -> None:
    """Make or change the object; it belongs to the pod and goes with it."""
    metadata = pod["metadata"]
    owner = {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    body = {
        "apiVersion": _GROUP,
        "kind": kind,
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "ownerReferences": [owner],
        },
        "spec": spec,
    }
    namespace = metadata["namespace"]
    path = f"/apis/{_GROUP}/namespaces/{namespace}/{plural}/{metadata['name']}"
    node.api.patch(path, body, "apply")
