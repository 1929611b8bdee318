"""What an ExternalSecret asks for, read from the Vault of its store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sandbox.agent.api import Api, ApiError
from sandbox.external_secrets import decisions
from sandbox.external_secrets.vault import MissingError, Session, VaultError, as_bytes, session

Object = dict[str, Any]


@dataclass(frozen=True)
class Reference:
    """One thing to read: for one key of the Secret, or with all its keys."""

    place: str
    remote: Object
    key: str = ""

    def read(self, opened: Session) -> dict[str, bytes]:
        """Return what there is for the Secret. Raises VaultError."""
        if self.key:
            return {self.key: opened.value(self.remote)}
        return {name: as_bytes(value) for name, value in opened.values(self.remote).items()}


def values_of(api: Api, group: str, external_secret: Object) -> dict[str, bytes]:
    """Read everything an ExternalSecret asks for. Raises VaultError, with the place in the spec.

    What Vault lacks is an error only where the Secret is to be retained.
    """
    spec, namespace = external_secret["spec"], external_secret["metadata"]["namespace"]
    retain = decisions.policy_of(external_secret, "deletionPolicy") == "Retain"
    references, values = references_of(spec), dict[str, bytes]()
    place = references[0].place if references else "spec.data"
    try:
        store = _usable_store(api, group, spec["secretStoreRef"], namespace)
        with session(api, store, namespace) as opened:
            for reference in references:
                place = reference.place
                try:
                    values |= reference.read(opened)
                except MissingError:
                    if retain:
                        raise
    except VaultError as error:
        raise VaultError(f"error processing {place}, err: {error}") from error
    return values


def references_of(spec: Object) -> list[Reference]:
    """Return what is to be read, in the order in which a later value replaces an earlier one."""
    whole = [
        Reference(f"spec.dataFrom[{index}].extract", entry["extract"])
        for index, entry in enumerate(spec.get("dataFrom") or [])
    ]
    single = []
    for index, entry in enumerate(spec.get("data") or []):
        remote = entry["remoteRef"]
        place = f"spec.data[{index}] (key: {remote['key']})"
        single.append(Reference(place, remote, entry["secretKey"]))
    return [*whole, *single]


def _usable_store(api: Api, group: str, reference: Object, namespace: str) -> Object:
    """Return the store. Raises VaultError when it is not there, not ready, or not for this."""
    kind, name = reference.get("kind") or "SecretStore", reference["name"]
    where = "" if kind == "ClusterSecretStore" else f"/namespaces/{namespace}"
    try:
        store = api.get(f"/apis/{group}{where}/{kind.lower()}s/{name}")
    except ApiError as error:
        raise VaultError(f'could not get {kind} "{name}", {error}') from error
    if not decisions.serves_namespace(store, namespace):
        text = f'using cluster store "{name}" is not allowed from namespace "{namespace}"'
        raise VaultError(f"{text}: denied by spec.condition")
    if not decisions.is_ready(store):
        raise VaultError(f'{kind} "{name}" is not ready')
    return store
