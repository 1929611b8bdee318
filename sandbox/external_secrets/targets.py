"""The Secret of an ExternalSecret, as it should be: functions of the objects."""

from __future__ import annotations

import base64
import copy
from typing import Any

from sandbox.external_secrets.decisions import (
    CREATED_BY,
    DATA_HASH,
    MANAGED,
    digest,
    field_manager,
    policy_of,
    target_of,
)

Object = dict[str, Any]


class OwnedError(Exception):
    """Another ExternalSecret owns the Secret."""


class ControlledError(Exception):
    """Something else than an ExternalSecret owns the Secret."""


class ImmutableError(Exception):
    """The Secret may not change."""


def empty_secret(external_secret: Object) -> Object:
    """Return the Secret before anything is in it."""
    namespace = external_secret["metadata"]["namespace"]
    metadata = {"name": target_of(external_secret), "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata}


def desired(secret: Object, external_secret: Object, values: dict[str, bytes]) -> Object:
    """Return the Secret with these values, its marks, and its owner.

    Unless the policy is Merge, no other key stays. Raises OwnedError or ControlledError
    when it is somebody else's, ImmutableError when its values may not change.
    """
    made = copy.deepcopy(secret)
    kept = _kept_data(made, external_secret)
    encoded = {key: base64.b64encode(value).decode() for key, value in values.items()}
    made["data"] = kept | encoded
    _mark(made, external_secret)
    _settle_ownership(made, external_secret)
    if secret.get("immutable") and secret.get("data") != made["data"]:
        raise ImmutableError(
            f"unable to update secret {secret['metadata']['name']}: secret is immutable"
        )
    return made


def owner_label(external_secret: Object) -> str:
    """Return the value of the label that names the owner."""
    metadata = external_secret["metadata"]
    return digest(f"{metadata['namespace']}/{metadata['name']}")


def _kept_data(secret: Object, external_secret: Object) -> Object:
    """Return what stays in the Secret beside the values: with Merge, what others wrote."""
    if policy_of(external_secret, "creationPolicy") != "Merge":
        return {}
    manager = field_manager(external_secret["metadata"]["name"])
    ours: set[str] = set()
    for entry in secret["metadata"].get("managedFields") or []:
        if entry.get("manager") == manager:
            fields = (entry.get("fieldsV1") or {}).get("f:data") or {}
            ours |= {field.removeprefix("f:") for field in fields}
    return {key: value for key, value in (secret.get("data") or {}).items() if key not in ours}


def _mark(secret: Object, external_secret: Object) -> None:
    target = external_secret["spec"].get("target") or {}
    template = target.get("template") or {}
    wanted, metadata = template.get("metadata") or {}, secret["metadata"]
    labels = (metadata.get("labels") or {}) | (wanted.get("labels") or {})
    annotations = (metadata.get("annotations") or {}) | (wanted.get("annotations") or {})
    metadata["labels"] = labels | {MANAGED: "true"}
    metadata["annotations"] = annotations | {DATA_HASH: digest(secret["data"])}
    if template.get("type"):
        secret["type"] = template["type"]
    if target.get("immutable"):
        secret["immutable"] = True


def _settle_ownership(secret: Object, external_secret: Object) -> None:
    """Make the ExternalSecret the owner, or no longer the owner, as its policy says."""
    metadata, name = secret["metadata"], external_secret["metadata"]["name"]
    owners = list(metadata.get("ownerReferences") or [])
    controller = next((owner for owner in owners if owner.get("controller")), None)
    owned = controller is not None and _is_external_secret(controller)
    ours = controller is not None and owned and controller["name"] == name
    if controller is not None and owned and not ours:
        raise OwnedError(f"secret is owned by another ExternalSecret: {controller['name']}")
    if policy_of(external_secret, "creationPolicy") == "Owner":
        if controller is not None and not ours:
            place = f"{metadata['namespace']}/{metadata['name']}"
            who = f"{controller['kind']} {controller['name']}"
            why = f"Object {place} is already owned by another {who}"
            raise ControlledError(f"could not set controller reference on secret: {why}")
        others = [owner for owner in owners if owner is not controller]
        metadata["ownerReferences"] = [*others, _reference(external_secret)]
        metadata["labels"][CREATED_BY] = owner_label(external_secret)
        return
    metadata["labels"].pop(CREATED_BY, None)
    if ours:
        metadata["ownerReferences"] = [owner for owner in owners if owner is not controller]


def _is_external_secret(owner: Object) -> bool:
    group = owner["apiVersion"].partition("/")[0]
    return bool(owner["kind"] == "ExternalSecret" and group == "external-secrets.io")


def _reference(external_secret: Object) -> Object:
    return {
        "apiVersion": external_secret["apiVersion"],
        "kind": "ExternalSecret",
        "name": external_secret["metadata"]["name"],
        "uid": external_secret["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
