"""The Kubernetes API as JSON documents over HTTP: the only module that speaks it.

It knows the kubeconfig that the sandbox's control plane writes: one cluster, one user, a
client certificate. Objects are plain dictionaries, as the API sends them.
"""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import yaml

Object = dict[str, Any]

_CONTENT_TYPES = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
_FIELD_MANAGER = "sandbox-node-agent"
_WATCH_SECONDS = 240
_PAUSE_SECONDS = 1.0


class ApiError(Exception):
    """The API server refused a request, or did not answer (status 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Event:
    """A change that a watch reports. `LISTED` comes first and after every interruption."""

    kind: Literal["LISTED", "ADDED", "MODIFIED", "DELETED"]
    objects: list[Object]


class Api:
    """A connection to the API server; safe to use from several threads."""

    def __init__(self, kubeconfig: Path, *, impersonate: str = "") -> None:
        """Read the kubeconfig; with `impersonate` requests are made as that user."""
        document = yaml.safe_load(kubeconfig.read_text())
        cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
        self._client = httpx.Client(
            base_url=cluster["server"],
            verify=_tls(cluster, user),
            headers={"Impersonate-User": impersonate} if impersonate else {},
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            timeout=httpx.Timeout(30.0),
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **query: str) -> Object:
        """Return the object or list at `path`; raises ApiError."""
        return self._request("GET", path, params=query)

    def create(self, path: str, body: Object, **query: str) -> Object:
        """Create an object in the collection `path`; raises ApiError."""
        return self._request("POST", path, json=body, params=query)

    def replace(self, path: str, body: Object, **query: str) -> Object:
        """Replace the object at `path`, unless it has changed meanwhile; raises ApiError."""
        return self._request("PUT", path, json=body, params=query)

    def patch(
        self, path: str, body: Object, kind: Literal["merge", "strategic", "apply"] = "merge"
    ) -> Object:
        """Patch the object at `path`, `apply` makes it when it is not there; raises ApiError."""
        query = {"fieldManager": _FIELD_MANAGER} | ({"force": "true"} if kind == "apply" else {})
        headers = {"Content-Type": _CONTENT_TYPES[kind]}
        return self._request("PATCH", path, content=json.dumps(body), headers=headers, params=query)

    def delete(self, path: str, *, uid: str = "", grace_seconds: int | None = None) -> None:
        """Delete the object at `path`; it is no error when it, or that `uid`, is gone."""
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            body["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        try:
            self._request("DELETE", path, json=body)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise

    def follow(self, path: str, **query: str) -> Iterator[Event]:
        """Yield what is at the collection `path` and then every change, without end.

        When the server goes away or forgets the version, everything is listed again.
        """
        while True:
            try:
                yield from self._list_and_watch(path, query)
            except ApiError:
                time.sleep(_PAUSE_SECONDS)

    def _list_and_watch(self, path: str, query: dict[str, str]) -> Iterator[Event]:
        listing = self.get(path, **query)
        yield Event("LISTED", listing["items"])
        version = listing["metadata"]["resourceVersion"]
        while True:
            for document in self._watch(path, query, version):
                if document["type"] == "ERROR":
                    raise ApiError(410, document["object"].get("message", ""))
                version = document["object"]["metadata"]["resourceVersion"]
                if document["type"] != "BOOKMARK":
                    yield Event(document["type"], [document["object"]])

    def _watch(self, path: str, query: dict[str, str], version: str) -> Iterator[Object]:
        params = query | {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        timeout = httpx.Timeout(30.0, read=_WATCH_SECONDS + 30.0)
        try:
            with self._client.stream("GET", path, params=params, timeout=timeout) as answer:
                if answer.is_error:
                    raise ApiError(answer.status_code, answer.read().decode())
                for line in answer.iter_lines():
                    yield json.loads(line)
        except httpx.TransportError as error:
            raise ApiError(0, str(error)) from error

    def _request(self, method: str, path: str, **options: Any) -> Object:  # noqa: ANN401 -- httpx's own options
        try:
            answer = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise ApiError(0, f"{type(error).__name__}: {error}") from error
        try:
            document: Object = answer.json()
        except ValueError:
            document = {"message": answer.text}
        if answer.is_error:
            raise ApiError(answer.status_code, str(document.get("message", answer.text)))
        return document


def _tls(cluster: Object, user: Object) -> ssl.SSLContext | bool:
    """Return the context for the server's and the client's certificates."""
    if not cluster["server"].startswith("https"):
        return True
    authority = _content(cluster, "certificate-authority")
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if not authority or cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    # Python's ssl module takes a client certificate from a file only.
    with tempfile.NamedTemporaryFile() as file:
        file.write(_content(user, "client-certificate") + b"\n" + _content(user, "client-key"))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _content(section: Object, name: str) -> bytes:
    """Return an entry that stands in the kubeconfig itself or in a file it names."""
    if f"{name}-data" in section:
        return base64.b64decode(section[f"{name}-data"])
    return Path(section[name]).read_bytes() if name in section else b""
