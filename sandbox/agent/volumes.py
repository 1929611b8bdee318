"""Volumes as directories of this machine."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sandbox.agent.api import Api, ApiError

Object = dict[str, Any]

_NOT_FOUND = 404
_PRIVATE_PATHS = ("/tmp",)  # noqa: S108 -- the container's path, led to a directory of the pod


class MountError(Exception):
    """A volume is not there yet; the text is the kubelet's message for it."""

    def __init__(self, volume: str, message: str) -> None:
        super().__init__(f'MountVolume.SetUp failed for volume "{volume}" : {message}')


def secret_data(api: Api, namespace: str, name: str) -> dict[str, bytes] | None:
    """Return a Secret's content, None when there is no such Secret; raises ApiError."""
    document = find(api, f"/api/v1/namespaces/{namespace}/secrets/{name}")
    if document is None:
        return None
    return {key: base64.b64decode(text) for key, text in (document.get("data") or {}).items()}


def config_data(api: Api, namespace: str, name: str) -> dict[str, bytes] | None:
    """Return a ConfigMap's content, None when there is no such ConfigMap; raises ApiError."""
    document = find(api, f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    if document is None:
        return None
    binary = document.get("binaryData") or {}
    return {key: text.encode() for key, text in (document.get("data") or {}).items()} | {
        key: base64.b64decode(text) for key, text in binary.items()
    }


def find(api: Api, path: str) -> Object | None:
    """Return the object at `path`, None when it is not there; raises ApiError otherwise."""
    try:
        return api.get(path)
    except ApiError as error:
        if error.status == _NOT_FOUND:
            return None
        raise


def prepare(api: Api, pod: Object, folder: Path) -> dict[str, Path]:
    """Make a pod's volumes below `folder` and return name -> path.

    Raises MountError when a source is missing, ApiError when the API does not answer.
    """
    namespace = pod["metadata"]["namespace"]
    return {
        volume["name"]: _prepare(api, namespace, volume, folder / volume["name"])
        for volume in pod["spec"].get("volumes") or []
    }


def _prepare(api: Api, namespace: str, volume: Object, folder: Path) -> Path:
    if "persistentVolumeClaim" in volume:
        return _claimed(api, namespace, volume)
    if "hostPath" in volume:
        return Path(volume["hostPath"]["path"])
    folder.mkdir(parents=True, exist_ok=True)
    if "configMap" in volume:
        source = volume["configMap"]
        data = config_data(api, namespace, source["name"])
        _write(data, source, folder, volume["name"], f'configmap "{source["name"]}" not found')
    elif "secret" in volume:
        source = volume["secret"]
        data = secret_data(api, namespace, source["secretName"])
        _write(data, source, folder, volume["name"], f'secret "{source["secretName"]}" not found')
    return folder


def _write(
    data: Mapping[str, bytes] | None, source: Object, folder: Path, volume: str, missing: str
) -> None:
    if data is None:
        if not source.get("optional"):
            raise MountError(volume, missing)
        return
    for key, path, mode in selected(data, source):
        if key not in data:
            raise MountError(volume, f"references non-existent config key: {key}")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.write_bytes(data[key])
        target.chmod(mode)


def selected(data: Mapping[str, bytes], source: Object) -> list[tuple[str, str, int]]:
    """Return key, relative path and mode of each file that a source asks for."""
    default = source.get("defaultMode", 0o644)
    items = source.get("items")
    if not items:
        return [(key, key, default) for key in data]
    return [(each["key"], each["path"], each.get("mode", default)) for each in items]


def _claimed(api: Api, namespace: str, volume: Object) -> Path:
    name = volume["persistentVolumeClaim"]["claimName"]
    claim = find(api, f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
    if claim is None:
        raise MountError(volume["name"], f'persistentvolumeclaim "{name}" not found')
    bound = claim["spec"].get("volumeName")
    claimed = find(api, f"/api/v1/persistentvolumes/{bound}") if bound else None
    if claimed is None:
        raise MountError(volume["name"], f'persistentvolumeclaim "{name}" is not bound')
    if "hostPath" not in claimed["spec"]:
        raise MountError(volume["name"], f'volume "{bound}" is not a directory of the sandbox')
    path = Path(claimed["spec"]["hostPath"]["path"])
    path.mkdir(parents=True, exist_ok=True)
    return path


def places_of(container: Object, volumes: Mapping[str, Path], folder: Path) -> dict[str, str]:
    """Return mount path -> directory for a container; `folder` is its own.

    The temporary directory is the container's own, as in a real one.
    """
    places = {}
    for path in _PRIVATE_PATHS:
        private = folder / path.strip("/")
        private.mkdir(parents=True, exist_ok=True)
        places[path] = str(private)
    for mount in container.get("volumeMounts") or []:
        place = volumes[mount["name"]] / mount.get("subPath", "")
        places[mount["mountPath"]] = str(place)
    return places
