"""A container's environment and command line, resolved as a kubelet does. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Object = dict[str, Any]
Lookup = Callable[[str], Mapping[str, str] | None]
"""Returns the decoded data of the Secret or ConfigMap of that name, None when there is none."""

_REFERENCE = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")


class ConfigError(Exception):
    """The container cannot be made; the text is the kubelet's message for it."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable; an unknown one stays, `$$` is a dollar sign."""

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(value, text)


def resolve(
    container: Object, fields: Mapping[str, str], secret: Lookup, config: Lookup
) -> dict[str, str]:
    """Return the container's environment variables.

    `fields` are the values of downward API field paths. Raises ConfigError when a Secret,
    a ConfigMap or a key that is not optional is missing.
    """
    variables: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        variables |= _from_source(source, secret, config)
    for entry in container.get("env") or []:
        value = _value(entry, variables, fields, secret, config)
        if value is not None:
            variables[entry["name"]] = value
    return variables


def _from_source(source: Object, secret: Lookup, config: Lookup) -> dict[str, str]:
    kind = "secret" if "secretRef" in source else "configmap"
    reference = source.get("secretRef") or source.get("configMapRef") or {}
    data = (secret if kind == "secret" else config)(reference.get("name", ""))
    if data is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{reference.get("name", "")}" not found')
    return {source.get("prefix", "") + key: value for key, value in data.items()}


def _value(
    entry: Object,
    variables: Mapping[str, str],
    fields: Mapping[str, str],
    secret: Lookup,
    config: Lookup,
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expand(entry.get("value") or "", variables)
    if "fieldRef" in source:
        return fields.get(source["fieldRef"]["fieldPath"], "")
    if "secretKeyRef" in source:
        return _key(source["secretKeyRef"], "Secret", secret, fields["metadata.namespace"])
    if "configMapKeyRef" in source:
        return _key(source["configMapKeyRef"], "ConfigMap", config, fields["metadata.namespace"])
    return ""


def _key(reference: Object, kind: str, lookup: Lookup, namespace: str) -> str | None:
    name, key = reference.get("name", ""), reference["key"]
    data = lookup(name)
    if data is not None and key in data:
        return data[key]
    if reference.get("optional"):
        return None
    if data is None:
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    raise ConfigError(f"couldn't find key {key} in {kind} {namespace}/{name}")


def fields_of(pod: Object, pod_ip: str) -> dict[str, str]:
    """Return the downward API fields of a pod that a container may ask for."""
    metadata, spec = pod["metadata"], pod["spec"]
    labels = metadata.get("labels") or {}
    annotations = metadata.get("annotations") or {}
    return {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec["nodeName"],
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
        "status.hostIP": "127.0.0.1",
        **{f"metadata.labels['{key}']": value for key, value in labels.items()},
        **{f"metadata.annotations['{key}']": value for key, value in annotations.items()},
    }
