"""The controller: it hears of changes, and looks at one object after the other."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from sandbox.agent.api import Api, ApiError
from sandbox.agent.events import Recorder
from sandbox.external_secrets import stores
from sandbox.external_secrets.decisions import MANAGED, target_of, version_of
from sandbox.external_secrets.queue import Key, Queue
from sandbox.external_secrets.syncing import FailedError, Syncer

Object = dict[str, Any]

_STORES = ("ClusterSecretStore", "SecretStore")
_NOT_FOUND = 404


def store_seconds() -> float:
    """Return how often a store is looked at: five minutes, unless the sandbox is told otherwise."""
    return float(os.environ.get("VLLM_SANDBOX_STORE_SECONDS", "300"))


class Controller:
    """It follows ExternalSecrets, stores and the Secrets made, in one version of the API."""

    def __init__(self, api: Api, recorder: Recorder, version: str) -> None:
        self._api = api
        self._recorder = recorder
        self._group = f"external-secrets.io/{version}"
        self._syncer = Syncer(api, recorder, self._group)
        self._queue = Queue()
        self._seen: dict[Key, str] = {}
        self._targets: dict[Key, str] = {}
        self._listed = {kind: threading.Event() for kind in ("ExternalSecret", *_STORES)}

    def start(self) -> None:
        """Start to follow, and return when everything there is has been seen."""
        for kind in self._listed:
            threading.Thread(target=self._follow, args=(kind,), daemon=True).start()
        threading.Thread(target=self._follow_secrets, daemon=True).start()
        for listed in self._listed.values():
            listed.wait()

    def work(self) -> None:
        """Look at what is due, without end."""
        while True:
            self._look(self._queue.next())

    def _follow(self, kind: str) -> None:
        for event in self._api.follow(f"/apis/{self._group}/{kind.lower()}s"):
            for seen in event.objects:
                metadata = seen["metadata"]
                key = Key(kind, metadata.get("namespace", ""), metadata["name"])
                self._hear(key, seen, gone=event.kind == "DELETED")
            self._listed[kind].set()

    def _hear(self, key: Key, seen: Object, *, gone: bool) -> None:
        """Have an object looked at, unless nothing but its status has changed."""
        if gone:
            self._seen.pop(key, None)
            self._targets.pop(key, None)
            return
        metadata = seen["metadata"]
        version = f"{metadata['uid']} {version_of(metadata)} {metadata.get('deletionTimestamp')}"
        if key.kind == "ExternalSecret":
            self._targets[key] = target_of(seen)
        if self._seen.get(key) != version:
            self._seen[key] = version
            self._queue.add(key)

    def _follow_secrets(self) -> None:
        """Have an ExternalSecret looked at when its Secret has changed or is gone."""
        for event in self._api.follow("/api/v1/secrets", labelSelector=f"{MANAGED}=true"):
            for secret in event.objects:
                metadata = secret["metadata"]
                place = (metadata["namespace"], metadata["name"])
                for key, target in list(self._targets.items()):
                    if (key.namespace, target) == place:
                        self._queue.add(key)

    def _look(self, key: Key) -> None:
        try:
            self._look_once(key)
        except ApiError as error:
            if error.status != _NOT_FOUND:
                self._say(key, error)
                self._queue.retry(key)
        except (FailedError, stores.InvalidError) as error:
            self._say(key, error)
            self._queue.retry(key)
        else:
            self._queue.succeeded(key)

    def _look_once(self, key: Key) -> None:
        where = f"/namespaces/{key.namespace}" if key.namespace else ""
        path = f"/apis/{self._group}{where}/{key.kind.lower()}s/{key.name}"
        found = self._api.get(path)
        if key.kind in _STORES:
            stores.validate(self._api, self._recorder, found, path)
            self._queue.add(key, store_seconds())
            return
        after = self._syncer.sync(found, path)
        if after is not None:
            self._queue.add(key, after)

    def _say(self, key: Key, error: Exception) -> None:
        sys.stderr.write(f"{key.kind} {key.namespace}/{key.name}: {error}\n")
        sys.stderr.flush()
