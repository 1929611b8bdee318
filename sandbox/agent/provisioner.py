"""Volumes for claims: what the provisioner of a StorageClass does, with local directories."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from sandbox.agent.api import Api, ApiError
from sandbox.agent.names import PROVISIONER
from vllm_flows.quantities import parse_quantity

Object = dict[str, Any]

_SELECTED_NODE = "volume.kubernetes.io/selected-node"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_CONFLICT = 409
_CLAIMS = "/api/v1/persistentvolumeclaims"
_VOLUMES = "/api/v1/persistentvolumes"


def wants_volume(claim: Object, storage_class: Object | None) -> bool:
    """Tell whether a claim waits for us: ours by class, and a node chosen where that counts."""
    if not storage_class or storage_class.get("provisioner") != PROVISIONER:
        return False
    if claim["spec"].get("volumeName") or claim["metadata"].get("deletionTimestamp"):
        return False
    waits = storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    return not waits or _SELECTED_NODE in (claim["metadata"].get("annotations") or {})


def volume_for(claim: Object, storage_class: Object, folder: Path) -> Object:
    """Return the volume of a claim: a directory below `folder`."""
    metadata, spec = claim["metadata"], claim["spec"]
    name = f"pvc-{metadata['uid']}"
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {_PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": storage_class["metadata"]["name"],
            "hostPath": {"path": str(folder / name)},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "name": metadata["name"],
                "namespace": metadata["namespace"],
                "uid": metadata["uid"],
            },
        },
    }


def wants_expansion(claim: Object) -> bool:
    """Tell whether a bound claim asks for more than it has."""
    capacity = ((claim.get("status") or {}).get("capacity") or {}).get("storage")
    if not capacity or not claim["spec"].get("volumeName"):
        return False
    requested = claim["spec"]["resources"]["requests"]["storage"]
    return parse_quantity(requested) > parse_quantity(capacity)


def is_released(volume: Object) -> bool:
    """Tell whether a volume is ours and is to be deleted, its claim being gone."""
    ours = (volume["metadata"].get("annotations") or {}).get(_PROVISIONED_BY) == PROVISIONER
    released = (volume.get("status") or {}).get("phase") == "Released"
    return ours and released and volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"


class Provisioner:
    """Follows claims and volumes and does what they ask for."""

    def __init__(self, api: Api, folder: Path) -> None:
        self._api = api
        self._folder = folder
        self._classes: dict[str, Object] = {}

    def follow_claims(self) -> None:
        """Provide and enlarge volumes, for ever."""
        for event in self._api.follow(_CLAIMS):
            for claim in event.objects if event.kind != "DELETED" else []:
                self._try(self._serve, claim)

    def follow_volumes(self) -> None:
        """Delete the volumes of deleted claims, for ever."""
        for event in self._api.follow(_VOLUMES):
            for volume in event.objects if event.kind != "DELETED" else []:
                self._try(self._reclaim, volume)

    @staticmethod
    def _try(action: Any, subject: Object) -> None:  # noqa: ANN401 -- one of the methods below
        try:
            action(subject)
        except ApiError:
            return

    def _serve(self, claim: Object) -> None:
        storage_class = self._class_of(claim)
        if storage_class and wants_volume(claim, storage_class):
            volume = volume_for(claim, storage_class, self._folder)
            Path(volume["spec"]["hostPath"]["path"]).mkdir(parents=True, exist_ok=True)
            self._create(volume)
        elif wants_expansion(claim) and wants_ours(storage_class):
            self._expand(claim)

    def _create(self, volume: Object) -> None:
        try:
            self._api.create(_VOLUMES, volume)
        except ApiError as error:
            if error.status != _CONFLICT:
                raise

    def _expand(self, claim: Object) -> None:
        size = claim["spec"]["resources"]["requests"]["storage"]
        capacity = {"capacity": {"storage": size}}
        self._api.patch(f"{_VOLUMES}/{claim['spec']['volumeName']}", {"spec": capacity})
        metadata = claim["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/persistentvolumeclaims"
        status: Object = {"status": capacity | {"conditions": []}}
        self._api.patch(f"{path}/{metadata['name']}/status", status)

    def _reclaim(self, volume: Object) -> None:
        if not is_released(volume):
            return
        path = Path(volume["spec"]["hostPath"]["path"])
        if path.parent == self._folder:
            shutil.rmtree(path, ignore_errors=True)
        self._api.delete(f"{_VOLUMES}/{volume['metadata']['name']}")

    def _class_of(self, claim: Object) -> Object | None:
        name = claim["spec"].get("storageClassName")
        if name and name not in self._classes:
            path = f"/apis/storage.k8s.io/v1/storageclasses/{name}"
            self._classes[name] = self._api.get(path)
        return self._classes.get(name or "")


def wants_ours(storage_class: Object | None) -> bool:
    """Tell whether a StorageClass is served by this provisioner."""
    return bool(storage_class) and (storage_class or {}).get("provisioner") == PROVISIONER
