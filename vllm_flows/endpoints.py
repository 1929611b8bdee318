"""Where the router and the models are reached. Pure; objects in, rows out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vllm_flows.names import (
    ROUTER_DEPLOYMENT,
    ROUTER_SERVICE,
    engine_deployment,
    engine_service,
)
from vllm_flows.replicas import ready_replicas

Object = Mapping[str, Any]

_HTTP = 80
_KEY = "VLLM_API_KEY"


@dataclass(frozen=True)
class Endpoint:
    """One Service: `url` from inside the cluster, empty without a Service.

    `ready` and `wanted` are pods behind it; `key`: requests need the API key.
    """

    name: str
    kind: str
    service: str
    url: str
    ready: int
    wanted: int
    outside: str
    key: bool

    @property
    def data(self) -> dict[str, Any]:
        """Return it as JSON and YAML show it."""
        return {
            "name": self.name,
            "kind": self.kind,
            "service": self.service,
            "url": self.url,
            "readyPods": self.ready,
            "wantedPods": self.wanted,
            "apiKey": self.key,
            "outside": self.outside,
        }

    @property
    def row(self) -> dict[str, Any]:
        """Return it as a row of the table."""
        return {
            "name": self.name,
            "ready": f"{self.ready}/{self.wanted}" if self.url else "-",
            "key": "needed" if self.key else "none",
            "URL in the cluster": self.url or "not deployed",
        }


@dataclass(frozen=True)
class Found:
    """What the namespace has; `router`: there should be one."""

    namespace: str
    router: bool
    services: Sequence[Object]
    deployments: Sequence[Object]
    pods: Sequence[Object]


def endpoints(found: Found, models: Iterable[str]) -> list[Endpoint]:
    """Return the router's endpoint, where there is or should be one, and that of each model."""
    services = {str(one["metadata"]["name"]): one for one in found.services}
    deployments = {str(one["metadata"]["name"]): one for one in found.deployments}
    wanted = [
        ("router", "router", ROUTER_SERVICE, ROUTER_DEPLOYMENT, ""),
        *(
            (name, "model", engine_service(name), engine_deployment(name), f" --model {name}")
            for name in models
        ),
    ]
    return [
        _endpoint(
            found,
            (name, kind, f"vllm-flows port-forward{option}"),
            services.get(service),
            deployments.get(deployment, {}),
        )
        for name, kind, service, deployment, option in wanted
        if kind == "model" or found.router or service in services
    ]


def _endpoint(
    found: Found, named: tuple[str, str, str], service: Object | None, deployment: Object
) -> Endpoint:
    name, kind, outside = named
    return Endpoint(
        name,
        kind,
        str(service["metadata"]["name"]) if service else "",
        _url(service, found.namespace) if service else "",
        len(_behind(service, found.pods)),
        int(deployment.get("spec", {}).get("replicas", 1)) if deployment else 0,
        outside,
        needs_key(deployment),
    )


def _url(service: Object, namespace: str) -> str:
    port = int(service["spec"]["ports"][0]["port"])
    host = f"{service['metadata']['name']}.{namespace}.svc.cluster.local"
    return f"http://{host}" if port == _HTTP else f"http://{host}:{port}"


def _behind(service: Object | None, pods: Iterable[Object]) -> list[str]:
    """Return the names of the ready pods that the Service selects."""
    selector = ((service or {}).get("spec") or {}).get("selector") or {}
    if not selector:
        return []
    chosen = [
        pod for pod in pods if selector.items() <= (pod["metadata"].get("labels") or {}).items()
    ]
    return [replica.pod for replica in ready_replicas(chosen)]


def needs_key(deployment: Object) -> bool:
    """Say whether what a Deployment runs was given an API key, which it then insists on."""
    template = deployment.get("spec", {}).get("template", {}).get("spec", {})
    return any(
        variable.get("name") == _KEY
        for container in template.get("containers") or []
        for variable in container.get("env") or []
    )


def curl_example(url: str, *, key: bool) -> str:
    """Return a command that lists the models; the key is taken from the shell, never shown."""
    header = f' -H "Authorization: Bearer ${_KEY}"' if key else ""
    return f"curl -s{header} {url}/v1/models"
