"""What stands against a model's weights claim: its class, its size, its access mode. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows.claims import room_needed
from vllm_flows.errors import PlacementError, VllmFlowsError
from vllm_flows.models import Model
from vllm_flows.nodes import Node
from vllm_flows.observed import ClusterState, Verdict, WeightsClaim
from vllm_flows.quantities import parse_quantity
from vllm_flows.settings import Settings
from vllm_flows.sizes import human_bytes

Object = Mapping[str, Any]
Said = VllmFlowsError | str
"""A problem, or a note for the reader."""

READ_WRITE_ONCE = "ReadWriteOnce"

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
_GIB = 1024**3
_NEARLY_FULL = 0.9
_TWO = 2
ONE_NODE_ONLY = {
    "ebs.csi.aws.com": "Amazon EBS",
    "pd.csi.storage.gke.io": "Google Persistent Disk",
    "disk.csi.azure.com": "Azure Disk",
    "cinder.csi.openstack.org": "OpenStack Cinder",
    "csi.hetzner.cloud": "Hetzner volumes",
    "dobs.csi.digitalocean.com": "DigitalOcean volumes",
    "rancher.io/local-path": "local paths",
    "openebs.io/local": "local paths",
    "k8s.io/minikube-hostpath": "local paths",
    "kubernetes.io/host-path": "local paths",
    "docker.io/hostpath": "local paths",
}
"""Provisioners whose file systems one node mounts at a time, by their own documentation."""


@dataclass(frozen=True)
class Storage:
    """A model's claim as it is (None: to be made), and what is wanted of it."""

    model: Model
    claim: WeightsClaim | None
    settings: Settings

    @property
    def grows(self) -> bool:
        """Say whether models.yaml wants more than the claim asked for."""
        wanted = parse_quantity(self.model.pvc_storage)
        return self.claim is not None and wanted > parse_quantity(self.claim.size)

    @property
    def bytes(self) -> int:
        """The volume's size once it is as wanted; a volume never shrinks."""
        wanted = parse_quantity(self.model.pvc_storage)
        return int(max(wanted, parse_quantity(self.claim.size)) if self.claim else wanted)

    @property
    def once(self) -> bool:
        """Say whether one node at a time can use the volume."""
        if self.claim and self.claim.manifest:
            modes = self.claim.manifest["spec"].get("accessModes") or []
            return "ReadWriteMany" not in modes
        return self.settings.storage_access_mode == READ_WRITE_ONCE

    def class_of(self, classes: Iterable[Object]) -> Object | None:
        """Return the claim's StorageClass, None when the cluster has no such class."""
        name = self.settings.storage_class
        if self.claim and self.claim.manifest:
            name = self.claim.manifest["spec"].get("storageClassName") or name
        return class_named(name, classes)


def class_named(name: str, classes: Iterable[Object]) -> Object | None:
    """Return the StorageClass of that name, with "" the default one; None when there is none."""
    for item in classes:
        default = (item["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
        if item["metadata"]["name"] == name or (not name and default):
            return item
    return None


def check_storage(
    storage: Storage, verdict: Verdict, state: ClusterState, nodes: Iterable[Node]
) -> list[Said]:
    """Say what stands against the claim; `nodes` are those that could take the engine."""
    return [
        *_leaving(storage),
        *_size(storage, verdict, state),
        *_class(storage, state.around.storage_classes),
        *_several_nodes(storage, list(nodes)),
    ]


def _leaving(storage: Storage) -> Iterable[Said]:
    """Refuse a volume on its way out: it goes as soon as the pods that hold it are gone."""
    if storage.claim and storage.claim.leaving:
        yield PlacementError(
            "its volume is being deleted",
            why="somebody deleted the claim; it stays only while pods use it",
            next_command=(
                "vllm-flows uninstall, set-hf-token and set-api-key where used, then install"
            ),
            model=storage.model.name,
        )


def _size(storage: Storage, verdict: Verdict, state: ClusterState) -> Iterable[Said]:
    """Refuse a volume that cannot hold the weights beside those that are served meanwhile."""
    if not verdict.files or (storage.claim and verdict.commit in storage.claim.complete):
        return
    needed = room_needed(verdict, storage.claim, state.running(storage.model.name))
    beside = needed - verdict.total_bytes
    text = f"the weights are {human_bytes(verdict.total_bytes)}"
    text += f", beside {human_bytes(beside)} that are served until then" if beside else ""
    if needed > storage.bytes:
        yield PlacementError(
            f"pvcStorage {storage.model.pvc_storage} is too small",
            why=text,
            next_command=f"set pvcStorage: {-(-needed * 11 // 10 // _GIB)}Gi in models.yaml",
            model=storage.model.name,
        )
    elif needed > storage.bytes * _NEARLY_FULL:
        yield f"the volume of {human_bytes(storage.bytes)} will be nearly full: {text}"


def _class(storage: Storage, classes: tuple[Object, ...] | None) -> Iterable[Said]:
    if classes is None:
        return
    found = storage.class_of(classes)
    if found is None:
        if storage.claim is None:
            yield _no_class(storage, classes)
        return
    name, provisioner = found["metadata"]["name"], found.get("provisioner", "")
    if storage.claim is None:
        if not storage.once and provisioner in ONE_NODE_ONLY:
            yield _not_shared(storage, name, provisioner)
        if found.get("volumeBindingMode", "Immediate") == "Immediate" and storage.once:
            yield (
                f"StorageClass {name} binds volumes at once (Immediate): this one may come to be "
                "where no GPU is; WaitForFirstConsumer does not"
            )
    elif storage.grows and not found.get("allowVolumeExpansion"):
        yield _cannot_grow(storage, storage.claim, name)


def _no_class(storage: Storage, classes: tuple[Object, ...]) -> PlacementError:
    names = ", ".join(sorted(item["metadata"]["name"] for item in classes))
    wanted = storage.settings.storage_class
    if not names:
        what, hint = "the cluster has no StorageClass", "install one, then run this again"
    else:
        what = f"there is no StorageClass {wanted}" if wanted else "no StorageClass is the default"
        hint = f"set VLLM_STORAGE_CLASS to one of: {names}"
    return PlacementError(
        what,
        why="the volume for the weights would never come to be",
        next_command=f"{hint}   (kubectl get storageclass)",
        model=storage.model.name,
    )


def _not_shared(storage: Storage, name: str, provisioner: str) -> PlacementError:
    return PlacementError(
        f"StorageClass {name} offers no ReadWriteMany",
        why=f"its volumes are {ONE_NODE_ONLY[provisioner]} ({provisioner}), which one node mounts",
        next_command="set VLLM_STORAGE_CLASS to a shared file system's, or "
        "VLLM_STORAGE_ACCESS_MODE=ReadWriteOnce and keep the replicas on one node",
        model=storage.model.name,
    )


def _cannot_grow(storage: Storage, claim: WeightsClaim, name: str) -> PlacementError:
    namespace = storage.settings.namespace
    return PlacementError(
        f"its volume of {claim.size} cannot grow to {storage.model.pvc_storage}",
        why=f"StorageClass {name} does not allow volume expansion",
        next_command=f"set pvcStorage: {claim.size} in models.yaml; or remove the model, then "
        f"kubectl -n {namespace} delete pvc weights-{storage.model.name}, and add it again",
        model=storage.model.name,
    )


def may_part(storage: Storage, used: Iterable[str], nodes: Collection[Node]) -> tuple[str, ...]:
    """Say that a new pod beside the old one may come to a node that cannot mount the volume.

    `used` are the nodes that mount it now, `nodes` those that could take the pod. The scheduler
    does not look at where a ReadWriteOnce volume is attached.
    """
    if not storage.once or storage.model.replica_count > 1 or len(nodes) < _TWO or not used:
        return ()
    told = (
        f"its ReadWriteOnce volume is mounted on {', '.join(sorted(used))}, and {len(nodes)} nodes "
        "could take the new pod: on another one it would wait for the volume, and the change "
        "would go back; use VLLM_STORAGE_ACCESS_MODE=ReadWriteMany, or a nodeSelector for one node"
    )
    return (told,)


def _several_nodes(storage: Storage, nodes: list[Node]) -> Iterable[Said]:
    if storage.once and storage.model.replica_count > 1 and len(nodes) > 1:
        yield (
            f"{storage.model.replica_count} replicas share a ReadWriteOnce volume, which one node "
            f"mounts, and {len(nodes)} nodes could take them: a replica on another node would "
            "wait; use VLLM_STORAGE_ACCESS_MODE=ReadWriteMany, or a nodeSelector for one node"
        )
