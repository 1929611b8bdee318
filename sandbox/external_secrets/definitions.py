"""The definitions of the resources, as data: ExternalSecret, ClusterSecretStore, SecretStore.

Their fields are those of the operator's that the sandbox's controller understands; the API
server refuses other types and values, and drops unknown fields, as it does with the operator's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Schema = dict[str, Any]

GROUP = "external-secrets.io"
VERSIONS = ("v1", "v1beta1")
"""Newer operators serve v1 alone, older ones v1beta1 alone, those between both."""

_TEXT: Schema = {"type": "string"}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 253}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}


def custom_resources(versions: Sequence[str] = VERSIONS) -> list[Schema]:
    """Return the definitions, each served in these versions; the first one is stored."""
    external_secret = _definition(
        "ExternalSecret", "Namespaced", "es", _external_secret(), versions
    )
    cluster_store = _definition("ClusterSecretStore", "Cluster", "css", _store(), versions)
    store = _definition("SecretStore", "Namespaced", "ss", _store(), versions)
    return [external_secret, cluster_store, store]


def _definition(kind: str, scope: str, short: str, spec: Schema, versions: Sequence[str]) -> Schema:
    plural = f"{kind.lower()}s"
    schema = _object({"spec": spec, "status": _status()})
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["external-secrets"],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[0],
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                }
                for version in versions
            ],
        },
    }


def _columns() -> list[Schema]:
    ready = '.status.conditions[?(@.type=="Ready")]'
    return [
        {"name": "Status", "type": "string", "jsonPath": f"{ready}.reason"},
        {"name": "Ready", "type": "string", "jsonPath": f"{ready}.status"},
    ]


def _external_secret() -> Schema:
    remote = _object(
        {
            "key": _TEXT,
            "property": _TEXT,
            "version": _TEXT,
            "conversionStrategy": _one_of("Default", "Unicode", default="Default"),
            "decodingStrategy": _one_of("Auto", "Base64", "Base64URL", "None", default="None"),
            "metadataPolicy": _one_of("None", "Fetch", default="None"),
        },
        required=["key"],
    )
    data = _object({"secretKey": _NAME, "remoteRef": remote}, required=["secretKey", "remoteRef"])
    store = _object({"name": _NAME, "kind": _one_of("SecretStore", "ClusterSecretStore")})
    return _object(
        {
            "secretStoreRef": store,
            "target": _target(),
            "refreshPolicy": _one_of("CreatedOnce", "Periodic", "OnChange"),
            "refreshInterval": {"type": "string", "default": "1h0m0s"},
            "data": {"type": "array", "items": data},
            "dataFrom": {"type": "array", "items": _object({"extract": remote})},
        }
    )


def _target() -> Schema:
    metadata = _object({"labels": _TEXTS, "annotations": _TEXTS})
    fields = {
        "name": _NAME,
        "creationPolicy": _one_of("Owner", "Orphan", "Merge", "None", default="Owner"),
        "deletionPolicy": _one_of("Delete", "Merge", "Retain", default="Retain"),
        "immutable": {"type": "boolean"},
        "template": _object({"type": _TEXT, "metadata": metadata}),
    }
    return _object(fields) | {"default": {"creationPolicy": "Owner", "deletionPolicy": "Retain"}}


def _store() -> Schema:
    path: Schema = {"type": "string"}
    kubernetes = _object(
        {
            "mountPath": path | {"default": "kubernetes"},
            "role": _TEXT,
            "serviceAccountRef": _object(
                {"name": _NAME, "namespace": _NAME, "audiences": {"type": "array", "items": _TEXT}},
                required=["name"],
            ),
            "secretRef": _selector(),
        },
        required=["mountPath", "role"],
    )
    app_role = _object(
        {
            "path": path | {"default": "approle"},
            "roleId": _TEXT,
            "roleRef": _selector(),
            "secretRef": _selector(),
        },
        required=["path", "secretRef"],
    )
    auth = {"tokenSecretRef": _selector(), "appRole": app_role, "kubernetes": kubernetes}
    vault = _object(
        {
            "server": _TEXT,
            "path": path,
            "version": _one_of("v1", "v2", default="v2"),
            "namespace": _TEXT,
            "caBundle": {"type": "string", "format": "byte"},
            "auth": _object(auth | {"namespace": _TEXT}),
        },
        required=["server"],
    )
    provider = _object({"vault": vault}, required=["vault"])
    condition = _object({"namespaces": {"type": "array", "items": _NAME}})
    return _object(
        {
            "controller": _TEXT,
            "provider": provider,
            "refreshInterval": {"x-kubernetes-int-or-string": True},
            "conditions": {"type": "array", "items": condition},
        },
        required=["provider"],
    )


def _selector() -> Schema:
    return _object({"name": _NAME, "namespace": _NAME, "key": _NAME})


def _status() -> Schema:
    condition = _object(
        {
            "type": _TEXT,
            "status": _TEXT,
            "reason": _TEXT,
            "message": _TEXT,
            "lastTransitionTime": {"type": "string", "format": "date-time"},
        },
        required=["type", "status"],
    )
    return _object(
        {
            "conditions": {"type": "array", "items": condition},
            "capabilities": _TEXT,
            "refreshTime": {"type": "string", "format": "date-time", "nullable": True},
            "syncedResourceVersion": _TEXT,
            "binding": _object({"name": _TEXT}),
        }
    )


def _one_of(*values: str, default: str = "") -> Schema:
    schema: Schema = {"type": "string", "enum": list(values)}
    return schema | ({"default": default} if default else {})


def _object(properties: Schema, required: Sequence[str] = ()) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": list(required)} if required else {})
