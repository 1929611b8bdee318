"""Which engines there are: pods by label, ready ones only, each asked for its models."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from sandbox.agent.api import Api, Event
from sandbox.agent.names import ADDRESS_ANNOTATION

Pod = dict[str, Any]
Ask = Callable[[str], list[dict[str, Any]]]

_PORT = 8000
"""The real router's `--k8s-port`, as the chart leaves it; it is only said."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """A ready engine: where it listens and what it says about its models."""

    pod: str
    url: str
    models: tuple[dict[str, Any], ...]
    since: int

    @property
    def identifier(self) -> str:
        """The id under which GET /engines shows it."""
        return str(uuid.uuid5(uuid.NAMESPACE_DNS, self.pod))

    def serves(self, model: str) -> bool:
        """Tell whether it answers requests for this model."""
        return any(each["id"] == model for each in self.models)


def url_of(pod: Pod) -> str | None:
    """Return where a pod's engine listens, or None while no request may go there.

    A pod takes requests when every container is ready and it is not being deleted.
    """
    statuses = pod.get("status", {}).get("containerStatuses") or []
    address = (pod["metadata"].get("annotations") or {}).get(ADDRESS_ANNOTATION)
    ready = bool(statuses) and all(each.get("ready") for each in statuses)
    if not ready or not address or pod["metadata"].get("deletionTimestamp"):
        return None
    return f"http://{address}"


class Discovery:
    """The engines known now; a thread of `follow` keeps it current."""

    def __init__(self, ask: Ask) -> None:
        """`ask` returns the model cards of the engine at an address.

        It raises httpx.HTTPError, ValueError or KeyError where it cannot.
        """
        self._ask = ask
        self._lock = threading.Lock()
        self._engines: dict[str, Engine] = {}
        self._seen: set[str] = set()

    def engines(self) -> list[Engine]:
        """Return the engines in a fixed order."""
        with self._lock:
            return sorted(self._engines.values(), key=lambda each: each.url)

    def was_seen(self, model: str) -> bool:
        """Tell whether any engine ever served this model."""
        with self._lock:
            return model in self._seen

    def follow(self, api: Api, namespace: str, selector: str) -> None:
        """Watch the pods of a namespace for ever."""
        path = f"/api/v1/namespaces/{namespace}/pods"
        for event in api.follow(path, labelSelector=selector):
            self.take(event)

    def take(self, event: Event) -> None:
        """Bring one change of the watch into the list."""
        if event.kind == "LISTED":
            names = {pod["metadata"]["name"] for pod in event.objects}
            with self._lock:
                self._engines = {key: e for key, e in self._engines.items() if key in names}
        for pod in event.objects:
            self._update(pod, gone=event.kind == "DELETED")

    def _update(self, pod: Pod, *, gone: bool) -> None:
        name = pod["metadata"]["name"]
        url = None if gone else url_of(pod)
        known = self._engines.get(name)
        if known and known.url == url:
            return
        models = self._models(url, pod["status"].get("podIP", "")) if url else []
        with self._lock:
            self._engines.pop(name, None)
            if url and models:
                self._engines[name] = Engine(name, url, tuple(models), int(time.time()))
                self._seen.update(each["id"] for each in models)

    def _models(self, url: str, ip: str) -> list[dict[str, Any]]:
        """Ask an engine; what comes of it is logged in the real router's words (0.1.8, 0.1.12)."""
        asked = f"http://{ip}:{_PORT}/v1/models"
        try:
            models = self._ask(url)
        except httpx.HTTPStatusError as error:
            answer = error.response
            side = "Client" if answer.is_client_error else "Server"
            why = f"{answer.status_code} {side} Error: {answer.reason_phrase}"
            _log.error("Failed to get model names from %s: %s for url: %s", asked, why, asked)
            return []
        except (httpx.HTTPError, ValueError, KeyError) as error:
            _log.error("Failed to get model names from %s: %s", asked, error)
            return []
        _log.info("Found models on pod %s: %s", ip, [each["id"] for each in models])
        return models


def ask_models(api_key: str | None, timeout: float) -> Ask:
    """Return a function that asks an engine for its model cards."""
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def ask(url: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{url}/v1/models", headers=headers, timeout=timeout, trust_env=False)
        answer.raise_for_status()
        return list(answer.json()["data"])

    return ask
