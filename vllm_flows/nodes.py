"""The cluster's nodes: what they have free now, what their GPUs are, whom they let in. Pure.

`free` is what the scheduler goes by: allocatable less the requests of the pods that are bound to
the node, whatever these really use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from vllm_flows.quantities import parse_quantity

Object = Mapping[str, Any]
Resources = Mapping[str, Decimal]

GPU = "nvidia.com/gpu"
HOSTNAME = "kubernetes.io/hostname"
CORDONED = "node.kubernetes.io/unschedulable"
"""The taint of a node that `kubectl cordon` closed."""

# Set by NVIDIA's GPU feature discovery; memory is one GPU's, in MiB, and with time slicing
# (`replicas`) as many containers share it.
_GPU_MEMORY = "nvidia.com/gpu.memory"
GPU_PRODUCT = "nvidia.com/gpu.product"
_GPU_REPLICAS = "nvidia.com/gpu.replicas"
_MIB = 1024**2
_KEEPS_OUT = {"NoSchedule", "NoExecute"}


@dataclass(frozen=True)
class Node:
    """One node: `free` and `allocatable` in cores, bytes and pieces; `gpu_memory` of one GPU.

    `gpu_memory` is in bytes, 0 when the node does not say it.
    """

    name: str
    labels: Mapping[str, str]
    taints: tuple[Object, ...]
    free: Resources
    allocatable: Resources
    gpu_memory: int = 0
    gpu_product: str = ""

    @property
    def host(self) -> str:
        """The value of the node's hostname label, which is not always its name."""
        return self.labels.get(HOSTNAME, self.name)


@dataclass(frozen=True)
class Needs:
    """What one replica asks of a node: resources, labels, and taints that it tolerates.

    Of a label that is wanted with two values no node has both.
    """

    resources: Resources
    labels: tuple[tuple[str, str], ...]
    tolerations: tuple[Object, ...]


def nodes_of(nodes: Iterable[Object], pods: Iterable[Object]) -> tuple[Node, ...]:
    """Return the nodes with what the pods leave free on them."""
    taken: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for pod in pods:
        node = pod["spec"].get("nodeName")
        if node:
            for resource, amount in requests_of(pod).items():
                taken[node][resource] += amount
    return tuple(_node(item, taken[item["metadata"]["name"]]) for item in nodes)


def _node(item: Object, taken: Resources) -> Node:
    labels = item["metadata"].get("labels") or {}
    allocatable = _amounts((item.get("status") or {}).get("allocatable") or {})
    taints = tuple(item["spec"].get("taints") or ()) if item.get("spec") else ()
    cordoned = (item.get("spec") or {}).get("unschedulable")
    if cordoned and all(taint["key"] != CORDONED for taint in taints):
        taints = (*taints, {"key": CORDONED, "effect": "NoSchedule"})
    return Node(
        name=item["metadata"]["name"],
        labels=labels,
        taints=taints,
        free={name: amount - taken.get(name, Decimal(0)) for name, amount in allocatable.items()},
        allocatable=allocatable,
        gpu_memory=_number(labels.get(_GPU_MEMORY))
        * _MIB
        // max(1, _number(labels.get(_GPU_REPLICAS))),
        gpu_product=labels.get(GPU_PRODUCT, ""),
    )


def requests_of(pod: Object) -> dict[str, Decimal]:
    """Return what the scheduler reserves for a pod.

    The containers' and sidecars' sum, or what one init container or the pod as a whole
    (`spec.resources`, from Kubernetes 1.34) asks for if that is more, plus the RuntimeClass's
    overhead; and one place for a pod.
    """
    spec = pod["spec"]
    total: dict[str, Decimal] = defaultdict(Decimal)
    once: dict[str, Decimal] = defaultdict(Decimal)
    for container in spec["containers"]:
        _add(total, _requests(container))
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            _add(total, _requests(container))
        _raise(once, _requests(container))
    # Of a whole pod's limits alone the API server makes requests when it takes the pod.
    _raise(once, _amounts((spec.get("resources") or {}).get("requests") or {}))
    found = {name: max(total[name], once[name]) for name in {*total, *once}}
    for name, amount in _amounts(spec.get("overhead") or {}).items():
        found[name] = found.get(name, Decimal(0)) + amount
    return found | {"pods": Decimal(1)}


def _requests(container: Object) -> Resources:
    """Return a container's requests; of what it only limits, the limit is requested."""
    resources = container.get("resources") or {}
    return _amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _add(total: dict[str, Decimal], more: Resources) -> None:
    for name, amount in more.items():
        total[name] += amount


def _raise(most: dict[str, Decimal], others: Resources) -> None:
    for name, amount in others.items():
        most[name] = max(most[name], amount)


def _amounts(quantities: Mapping[str, object]) -> dict[str, Decimal]:
    return {name: parse_quantity(str(text)) for name, text in quantities.items()}


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def missing_label(node: Node, wanted: Iterable[tuple[str, str]]) -> str:
    """Return the first wanted label that the node lacks, empty when it has them all."""
    lacking = (f"{key}={value}" for key, value in sorted(wanted) if node.labels.get(key) != value)
    return next(lacking, "")


def untolerated_taints(node: Node, tolerations: Iterable[Object]) -> list[str]:
    """Return the taints that keep the pod off the node, each as `key:effect`."""
    known = tuple(tolerations)
    return [
        f"{taint['key']}:{taint['effect']}"
        for taint in node.taints
        if taint.get("effect") in _KEEPS_OUT and not any(_tolerates(one, taint) for one in known)
    ]


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint["effect"]:
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint["key"]:
        return False
    exists = toleration.get("operator") == "Exists"
    return exists or toleration.get("value", "") == taint.get("value", "")


def lacking(node: Node, resources: Resources) -> list[str]:
    """Return the names of the resources of which too little is free on the node."""
    return [name for name, amount in resources.items() if node.free.get(name, Decimal(0)) < amount]
