"""Judging what a cluster has and lacks: findings from its objects as the API has them. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vllm_flows.doctor_findings import Finding, State, told
from vllm_flows.errors import ReleaseError, VllmFlowsError
from vllm_flows.helm_failures import lacks_right
from vllm_flows.lease_rules import Held
from vllm_flows.manifests import GPU_TOLERATION
from vllm_flows.names import some_of
from vllm_flows.nodes import GPU, Node, untolerated_taints
from vllm_flows.observed import Release, ReleaseState
from vllm_flows.release_rules import RELEASE_ACTIONS, ReleaseAction, check_release
from vllm_flows.secret_mode import Store, StoreState
from vllm_flows.settings import Settings
from vllm_flows.sizes import human_bytes
from vllm_flows.storage import ONE_NODE_ONLY, READ_WRITE_ONCE, class_named

Object = Mapping[str, Any]

_VENDOR = "nvidia.com/"
_NAMED = 4
"""Names in one finding; the rest is counted."""
# NVIDIA's GPU feature discovery, node feature discovery (PCI vendor 10de, classes 03xx for
# displays), and Google's own.
_HAS_GPU = re.compile(
    r"nvidia\.com/gpu\.(present|product|count)"
    r"|feature\.node\.kubernetes\.io/pci-(03[0-9a-f]{2}_)?10de(_.*)?\.present"
    r"|cloud\.google\.com/gke-accelerator"
)


def judge_reached(version: str, address: str, context: str) -> Finding:
    """Tell of a cluster that answers."""
    by = f"context {context}" if context else "current context"
    return Finding("cluster", State.OK, f"{version} at {address} ({by})")


def judge_unreached(error: Exception) -> Finding:
    """Tell of a cluster that does not."""
    if isinstance(error, VllmFlowsError):
        return told("cluster", error, State.PROBLEM)
    return Finding("cluster", State.PROBLEM, str(error), "kubectl cluster-info")


def judge_gpus(nodes: Sequence[Node], *, free_known: bool, autoscaling: bool) -> Finding:
    """Count the GPUs that the scheduler knows, those free, and say what they are."""
    with_gpus = [node for node in nodes if node.allocatable.get(GPU, 0)]
    if not with_gpus:
        text = f"none of {len(nodes)} nodes offers {GPU}"
        if autoscaling:
            return Finding("gpus", State.OK, f"{text}; they come when pods wait (autoscaling)")
        return Finding("gpus", State.PROBLEM, text, _look_at_nodes())
    closed = [node.name for node in with_gpus if untolerated_taints(node, [GPU_TOLERATION])]
    usable = [node for node in with_gpus if node.name not in closed]
    total = sum(int(node.allocatable[GPU]) for node in with_gpus)
    free = sum(max(0, int(node.free[GPU])) for node in usable)
    count = f"{free} free" if free_known else "unknown how many are free"
    text = f"{total} on {len(with_gpus)} of {len(nodes)} nodes, {count}: {_kinds(with_gpus)}"
    if not usable:
        text = f"{text}; every one of these nodes is closed to pods: {some_of(closed, _NAMED)}"
        return Finding("gpus", State.PROBLEM, text, f"kubectl describe node {closed[0]}")
    return Finding(
        "gpus", State.OK, f"{text}; closed: {some_of(closed, _NAMED)}" if closed else text
    )


def _kinds(nodes: Sequence[Node]) -> str:
    """Say which GPUs and how many: `16 x NVIDIA-A100-SXM4-80GB (85.9 GB)`."""
    counted: Counter[str] = Counter()
    for node in nodes:
        memory = f" ({human_bytes(node.gpu_memory)} each)" if node.gpu_memory else ""
        counted[(node.gpu_product or "unnamed") + memory] += int(node.allocatable[GPU])
    return ", ".join(f"{count} x {kind}" for kind, count in counted.items())


def judge_device_plugin(nodes: Sequence[Node]) -> Finding:
    """Say whether every node that has NVIDIA GPUs by its labels offers them to pods."""
    labelled = [node for node in nodes if any(map(_HAS_GPU.fullmatch, node.labels))]
    offering = [node for node in nodes if any(_is_vendors(node, name) for name in node.allocatable)]
    silent = [node.name for node in labelled if node not in offering]
    if not silent:
        text = f"{len(offering)} nodes offer GPUs" if offering else "no node is labelled as one"
        return Finding("device plugin", State.OK, text)
    idle = [name for name in silent if _plugged(nodes, name)]
    text = f"{some_of(silent, _NAMED)}: NVIDIA GPUs by the labels, and none is offered to pods"
    state = State.WARNING if offering else State.PROBLEM
    if len(idle) == len(silent):
        text = f"{text}; the plugin is there and finds none that is healthy"
        return Finding("device plugin", state, text, f"kubectl describe node {idle[0]}")
    return Finding("device plugin", state, text, INSTALL_PLUGIN)


INSTALL_PLUGIN = "vllm-flows device-plugin install"


def _is_vendors(node: Node, resource: str) -> bool:
    return resource.startswith(_VENDOR) and node.allocatable[resource] > 0


def _plugged(nodes: Sequence[Node], name: str) -> bool:
    return any(node.name == name and GPU in node.allocatable for node in nodes)


def _look_at_nodes() -> str:
    columns = "NODE:.metadata.name,GPUS:.status.allocatable.nvidia\\.com/gpu"
    return f"kubectl get nodes -o custom-columns='{columns}'"


def judge_runtime_class(name: str, found: Object | None) -> Finding:
    """Say whether the RuntimeClass of the settings is there; "" is the cluster's default."""
    if not name:
        return Finding("runtime class", State.OK, "the cluster's default (VLLM_RUNTIME_CLASS=)")
    if found:
        return Finding("runtime class", State.OK, f"{name} (handler {found.get('handler')})")
    fix = (
        f"{INSTALL_PLUGIN} --runtime-class   (where nodes have the NVIDIA container toolkit); or "
        "set VLLM_RUNTIME_CLASS= (empty) where the node's default runtime knows GPUs"
    )
    return Finding("runtime class", State.PROBLEM, f"the cluster has no RuntimeClass {name}", fix)


def judge_storage(classes: Sequence[Object], settings: Settings) -> Finding:
    """Judge the StorageClass that new weights volumes get."""
    found, wanted = class_named(settings.storage_class, classes), settings.storage_class
    if found is None:
        return _no_class(classes, wanted)
    name, provisioner = found["metadata"]["name"], str(found.get("provisioner"))
    binding = found.get("volumeBindingMode", "Immediate")
    grows = "grow" if found.get("allowVolumeExpansion") else "cannot grow"
    text = f"{name}{'' if wanted else ' (default)'}: {provisioner}, {binding}, volumes {grows}"
    once = settings.storage_access_mode == READ_WRITE_ONCE
    if not once and provisioner in ONE_NODE_ONLY:
        text = f"{text}; offers no ReadWriteMany, which VLLM_STORAGE_ACCESS_MODE asks for"
        fix = "set VLLM_STORAGE_CLASS to a shared file system's, or unset VLLM_STORAGE_ACCESS_MODE"
        return Finding("storage class", State.PROBLEM, text, fix)
    if once and binding == "Immediate":
        text = f"{text}; a volume may come to be where no GPU is"
        fix = "set VLLM_STORAGE_CLASS to one that binds with WaitForFirstConsumer"
        return Finding("storage class", State.WARNING, text, f"{fix}   (kubectl get storageclass)")
    return Finding("storage class", State.OK, text)


def _no_class(classes: Sequence[Object], wanted: str) -> Finding:
    known = some_of(sorted(item["metadata"]["name"] for item in classes), _NAMED)
    if not known:
        text, fix = "the cluster has none", "kubectl get storageclass   (install a provisioner)"
    else:
        text = f"there is no {wanted}" if wanted else "none is the default"
        fix = f"set VLLM_STORAGE_CLASS to one of: {known}"
    return Finding("storage class", State.PROBLEM, text, fix)


def judge_namespace(name: str, found: Object | None, *, may_make: bool) -> Finding:
    """Say whether the namespace is there, or can be made."""
    if found is None:
        text = f"{name} is not there yet"
        if may_make:
            return Finding("namespace", State.OK, f"{text}; install makes it")
        fix = f"kubectl create namespace {name}   (an administrator)"
        return Finding("namespace", State.PROBLEM, f"{text}, and may not be made", fix)
    if found["metadata"].get("deletionTimestamp"):
        fix = f"kubectl get namespace {name} --watch   (until it is gone)"
        return Finding("namespace", State.PROBLEM, f"{name} is being deleted", fix)
    return Finding("namespace", State.OK, name)


def judge_external_secrets(version: str, store: Store) -> Finding:
    """Tell of the External Secrets Operator and its way to Vault; neither is needed."""
    check = "external secrets"
    if not version:
        return Finding(check, State.OK, "no External Secrets Operator: plain Secrets do")
    text = f"External Secrets Operator serves {version}; {store.told()}"
    if store.state is StoreState.NOT_READY:
        return Finding(
            check, State.WARNING, text, f"kubectl describe clustersecretstore {store.name}"
        )
    return Finding(check, State.OK, text)


def judge_release(release: Release) -> Finding:
    """Say in what state the release is, and whether the next run can go on from it."""
    try:
        check_release(release)
    except ReleaseError as error:
        return told("release", error, State.PROBLEM)
    if release.state is ReleaseState.ABSENT:
        return Finding("release", State.OK, "none yet")
    text = f"{release.status or release.state}, revision {release.revision}, chart "
    text += release.chart_version
    if release.state is ReleaseState.DEPLOYED:
        return Finding("release", State.OK, text)
    action = RELEASE_ACTIONS[release.state]
    meant = "brings it in order" if action is ReleaseAction.UPGRADE else "first ends what was begun"
    return Finding("release", State.WARNING, f"{text}; install {meant}", "vllm-flows install")


def release_unread(error: ReleaseError) -> Finding:
    """Say why helm could not read the release; who may not list Secrets knows nothing of it."""
    if lacks_right(error):
        return Finding("release", State.UNKNOWN, "no right to list secrets, where helm keeps it")
    return told("release", error, State.UNKNOWN if error.retryable else State.PROBLEM)


def judge_lock(held: Held | None, namespace: str, now: datetime) -> Finding:
    """Say who may change the namespace now."""
    if held is None:
        return Finding("lock", State.OK, "free")
    return told("lock", held.refusal(namespace, now), State.WARNING)
