"""A namespace, an External Secrets Operator and a Vault, all in memory."""

from __future__ import annotations

import base64
import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.support import VirtualClock
from vllm_flows import syncing
from vllm_flows.credentials import Place
from vllm_flows.errors import NoRightError, VaultConflictError, VaultUnavailableError
from vllm_flows.external_secrets import KIND
from vllm_flows.guarding import Guard, unguarded
from vllm_flows.keeping import Keeper
from vllm_flows.settings import Settings
from vllm_flows.vault import Held, Vault
from vllm_flows.vault_access import Access
from vllm_flows.vault_tokens import Token

Object = dict[str, Any]


VAULT = {"vault_address": "http://vault:8200", "vault_token": "hvs.of-the-tests"}


class KilledError(Exception):
    """The process ended before this write."""


@dataclass
class World:
    """All that outlives a process. `writes_left` is how many it makes before it is killed.

    `unseen` are the kinds that this account may not read, `denied` the verbs on ExternalSecrets
    that it has not.
    """

    namespace: str = "vllm"
    served: str = "v1"
    store_ready: bool = True
    store_there: bool = True
    operator_works: bool = True
    told_failures: bool = True
    syncs_after_looks: int = 0
    sealed: bool = False
    items: dict[tuple[str, str], Object] = field(default_factory=dict)
    kept: dict[str, dict[str, str]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    writes_left: int = 1000
    unseen: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    token: Token | None = None
    guard: Guard = unguarded
    guard_of_vault: Guard = unguarded

    def wrote(self, what: str) -> None:
        """Count a write, or end the process before it."""
        if self.writes_left == 0:
            raise KilledError
        self.writes_left -= 1
        self.writes.append(what)

    # What the adapter to Kubernetes offers.
    def get(self, kind: str, name: str) -> Object | None:
        if kind in self.unseen:
            raise NoRightError(f"no right to read {kind} {name}")
        if kind == "ClusterSecretStore":
            return self._store(name) if self.store_there else None
        if kind == "Secret" and self.syncs_after_looks:
            self.syncs_after_looks -= 1
            self._synced()
        return copy.deepcopy(self.items.get((kind, name)))

    def find(self, *_: Any, **__: Any) -> list[Object]:
        return [{"reason": "UpdateFailed", "message": "Vault is sealed"}]

    def apply(self, body: Mapping[str, Any]) -> Object:
        kind, name = body["kind"], body["metadata"]["name"]
        self.wrote(f"apply {kind} {name}")
        there = self.items.get((kind, name), {})
        item = copy.deepcopy(there) | copy.deepcopy(dict(body))
        before = copy.deepcopy(there.get("metadata", {}))
        labels = before.get("labels", {}) | body["metadata"].get("labels", {})
        item["metadata"] = before | body["metadata"] | {"labels": labels}
        changed = item.get("spec") != there.get("spec")
        item["metadata"]["generation"] = before.get("generation", 0) + changed
        plain = item.pop("stringData", {})
        if plain:
            item["data"] = {key: encoded(value) for key, value in plain.items()}
        self.items[kind, name] = item
        self._synced()
        return item

    def annotate(self, kind: str, name: str, annotations: Mapping[str, str]) -> None:
        self.wrote(f"annotate {kind} {name} {' '.join(annotations)}")
        self.items[kind, name]["metadata"]["annotations"] = dict(annotations)
        self._synced()

    def merge(self, kind: str, name: str, fields: Mapping[str, Any]) -> None:
        self.wrote(f"merge {kind} {name}")
        for place, values in fields["metadata"].items():
            for key in values:
                self.items[kind, name]["metadata"].get(place, {}).pop(key, None)

    def delete(self, kind: str, name: str, *, alone: bool = False) -> bool:
        self.wrote(f"delete {kind} {name}{' alone' if alone else ''}")
        found = self.items.pop((kind, name), None)
        if found and kind == KIND:
            secret = self.items[("Secret", found["spec"]["target"]["name"])]
            if alone:
                del secret["metadata"]["ownerReferences"]
            else:
                del self.items["Secret", secret["metadata"]["name"]]
        return found is not None

    def _store(self, name: str) -> Object:
        ready = {"type": "Ready", "status": str(self.store_ready), "message": "said by the store"}
        vault = {"server": "http://vault:8200", "path": "secret"}
        return {
            "metadata": {"name": name},
            "spec": {"provider": {"vault": vault}},
            "status": {"conditions": [ready]},
        }

    def _synced(self) -> None:
        """Do what the operator does, at once."""
        for (kind, name), item in list(self.items.items()):
            if kind == KIND:
                self._sync(name, item)

    def _sync(self, name: str, item: Object) -> None:
        (data,) = item["spec"]["data"]
        value = self.kept.get(data["remoteRef"]["key"], {}).get(data["remoteRef"]["property"])
        if self.syncs_after_looks:
            return
        works = self.operator_works and value is not None
        if not works and not self.told_failures:
            return
        ready = {"type": "Ready", "status": str(works), "message": "could not get secret data"}
        item.setdefault("status", {})["conditions"] = [ready]
        if works:
            metadata = item["metadata"]
            version = f"{metadata['generation']}-{metadata.get('annotations')}"
            item["status"]["syncedResourceVersion"] = version
            target = item["spec"]["target"]
            secret = self.items.setdefault(("Secret", target["name"]), {"kind": "Secret"})
            metadata = secret.setdefault("metadata", {"name": target["name"]})
            labels = target["template"]["metadata"]["labels"]
            metadata.setdefault("labels", {}).update(
                labels, **{"reconcile.external-secrets.io/managed": "true"}
            )
            metadata["ownerReferences"] = [{"kind": KIND, "name": name, "controller": True}]
            secret["data"] = {data["secretKey"]: encoded(value)}

    # What the adapter to Vault offers.
    def read(self, path: str) -> Held:
        return Held(1, dict(self.kept.get(path, {})))

    def write(self, path: str, key: str, value: str, held: Held | None = None) -> bool:
        if held and held.values != self.kept.get(path, {}):
            raise VaultConflictError("somebody else wrote")
        if self.kept.get(path, {}).get(key) == value:
            return False
        self.guard_of_vault()
        self.wrote(f"vault {path}")
        self.kept.setdefault(path, {})[key] = value
        return True

    def remove(self, path: str, key: str) -> bool:
        self.wrote(f"vault {path} without {key}")
        return self.kept.get(path, {}).pop(key, None) is not None

    # What tests ask.
    def secret(self, place: Place) -> str | None:
        """Return what the Secret holds."""
        data = self.items.get(("Secret", place.secret), {}).get("data", {})
        return base64.b64decode(data[place.key]).decode() if place.key in data else None


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Put the world in the place of the adapters."""
    made = World()

    @contextmanager
    def opened(_: Access, guard: Guard = unguarded) -> Iterator[World]:
        if made.sealed:
            raise VaultUnavailableError("Vault is sealed")
        made.guard_of_vault = guard
        yield made

    monkeypatch.setattr(Vault, "opened", opened)
    monkeypatch.setattr(
        syncing.Operator, "of", classmethod(lambda cls, cluster: cls(cluster, made.served))
    )
    monkeypatch.setattr(
        syncing,
        "missing_rights",
        lambda _, rights: [one for one in rights if one.verb in made.denied],
    )
    monkeypatch.setattr(syncing, "user_name", lambda _: "system:serviceaccount:vllm:vllm-flows")
    return made


@pytest.fixture
def said() -> list[str]:
    """Return what is said."""
    return []


@pytest.fixture
def keeper(world: World, said: list[str]) -> Keeper:
    cluster: Any = world
    settings = Settings.model_validate(VAULT)
    return Keeper(cluster, settings, said.append, VirtualClock())


def wanting(keeper: Keeper, **settings: Any) -> Keeper:
    """Return the keeper with other settings."""
    return replace(keeper, settings=Settings.model_validate(VAULT | settings))
