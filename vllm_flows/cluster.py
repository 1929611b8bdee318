"""The adapter to Kubernetes: plain dictionaries in, plain dictionaries out.

Only this module, `kubeconfig`, `cluster_questions`, `portforward` and `pod_logs` import the
`kubernetes` package.
Requests have finite timeouts, and every refusal becomes one of our errors with the next command.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import urllib3
from kubernetes import client as kubernetes_client
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient, Resource
from kubernetes.dynamic.exceptions import DynamicApiError

from vllm_flows.errors import (
    ClusterError,
    ClusterUnavailableError,
    ConflictError,
    NoRightError,
)
from vllm_flows.guarding import Guard, unguarded
from vllm_flows.kubeconfig import configured
from vllm_flows.manifests import API_KEY_SECRET, HF_TOKEN_SECRET
from vllm_flows.redaction import collect, redacted
from vllm_flows.waiting import Clock

Object = dict[str, Any]
"""A Kubernetes object as its JSON reads."""

FIELD_MANAGER = "vllm-flows"
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0
_ASK_AGAIN_SECONDS = 1.0
_REMIND_SECONDS = 10.0
_TRY_LATER = {429, 500, 502, 503, 504}
_FORBIDDEN = 403
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_CONFLICT = 409

_FAILURES = (DynamicApiError, urllib3.exceptions.HTTPError, OSError, ClusterUnavailableError)
_RESOURCES = {
    # kind: (API group, version ("" for `external_secrets`), plural, namespaced)
    "ConfigMap": ("", "v1", "configmaps", True),
    "Event": ("", "v1", "events", True),
    "Namespace": ("", "v1", "namespaces", False),
    "Node": ("", "v1", "nodes", False),
    "PersistentVolume": ("", "v1", "persistentvolumes", False),
    "PersistentVolumeClaim": ("", "v1", "persistentvolumeclaims", True),
    "Pod": ("", "v1", "pods", True),
    "ResourceQuota": ("", "v1", "resourcequotas", True),
    "Secret": ("", "v1", "secrets", True),
    "Service": ("", "v1", "services", True),
    "ServiceAccount": ("", "v1", "serviceaccounts", True),
    "ClusterSecretStore": ("external-secrets.io", "", "clustersecretstores", False),
    "ExternalSecret": ("external-secrets.io", "", "externalsecrets", True),
    "Deployment": ("apps", "v1", "deployments", True),
    "ReplicaSet": ("apps", "v1", "replicasets", True),
    "Job": ("batch", "v1", "jobs", True),
    "Lease": ("coordination.k8s.io", "v1", "leases", True),
    "RuntimeClass": ("node.k8s.io", "v1", "runtimeclasses", False),
    "Role": ("rbac.authorization.k8s.io", "v1", "roles", True),
    "RoleBinding": ("rbac.authorization.k8s.io", "v1", "rolebindings", True),
    "StorageClass": ("storage.k8s.io", "v1", "storageclasses", False),
}
KINDS = frozenset(_RESOURCES)
"""The kinds of objects that can be read and written here."""


@dataclass(frozen=True)
class Patience:
    """How long an API that does not answer is asked again, and who is told meanwhile."""

    seconds: float
    say: Callable[[str], None]
    clock: Clock


class _NoDiscovery:
    """The dynamic client asks the API what it serves; we know, and save the requests."""

    def __init__(self, client: DynamicClient, cache_file: str | None) -> None:
        """Accept what the dynamic client passes; there is nothing to discover."""


@dataclass(frozen=True)
class Cluster:
    """One namespace of one cluster, as the user's kubeconfig or the pod's account reaches it.

    Every method raises ClusterError when the API refuses and ClusterUnavailableError, which a
    retry can help, when it does not answer: no byte for `read_seconds`. With `patience` it is asked
    again until that is used up. Every write calls `guard` first, each time that it is tried; it
    raises to prevent it.
    """

    namespace: str
    context: str
    api: DynamicClient
    inside: bool = False
    read_seconds: float = _READ_SECONDS
    patience: Patience | None = None
    guard: Guard = unguarded
    external_secrets: str = "v1"
    """The version in which ExternalSecrets are served, where they are."""
    collected: set[str] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def connect(cls, namespace: str, context: str = "") -> Cluster:
        """Read the kubeconfig (or the pod's service account); no request is made yet.

        Raises what `kubeconfig.configured` does.
        """
        configuration, inside = configured(context)
        configuration.retries = urllib3.Retry(total=2, connect=2, read=0, backoff_factor=0.3)
        client = kubernetes_client.ApiClient(configuration)
        configuration.renewed = client.rest_client.pool_manager.clear
        api = DynamicClient(client, discoverer=_NoDiscovery)
        return cls(namespace, context, api, inside)

    def identity(self) -> str:
        """Return what tells this cluster from others.

        That is the uid of its namespace kube-system; where this account may not read that, the
        address of the API.
        """
        try:
            system = self.get("Namespace", "kube-system") or {}
        except NoRightError:
            system = {}
        return str((system.get("metadata") or {}).get("uid") or self.api.configuration.host)

    def get(self, kind: str, name: str) -> Object | None:
        """Return the object, or None when there is none of that name."""
        resource = self._resource(kind)
        with explained(f"read {kind} {name}"):
            try:
                return _collected(self._request(resource.get, name=name))
            except DynamicApiError as error:
                if error.status == _NOT_FOUND:
                    return None
                raise

    def find(
        self, kind: str, selector: str = "", *, fields: str = "", everywhere: bool = False
    ) -> list[Object]:
        """Return all objects of the kind that the label selector and the field selector match.

        Those of the namespace, or with `everywhere` of all namespaces.
        """
        resource = self._resource(kind)
        where = {"namespace": None} if everywhere else {}
        with explained(f"list {resource.name}{' of all namespaces' if everywhere else ''}"):
            found = self._request(
                resource.get,
                label_selector=selector or None,
                field_selector=fields or None,
                **where,
            )
        items: list[Object] = found.get("items", [])
        return items

    def apply(self, body: Mapping[str, Any]) -> Object:
        """Create the object or bring it to `body`, by server-side apply; return it as it is."""
        kind, name = body["kind"], body["metadata"]["name"]
        resource = self._resource(kind)
        with explained(f"write {kind} {name}"):
            return self._write(
                resource.server_side_apply,
                body=dict(body),
                name=name,
                field_manager=FIELD_MANAGER,
                force_conflicts=True,
            )

    def create(self, body: Mapping[str, Any]) -> Object:
        """Create the object; return it as it is. Raises ConflictError when there is one."""
        resource = self._resource(body["kind"])
        with explained(f"create {body['kind']} {body['metadata']['name']}"):
            return self._write(resource.create, body=dict(body), field_manager=FIELD_MANAGER)

    def replace(self, body: Mapping[str, Any]) -> Object:
        """Replace the object by `body`, made from it as it was read; return it as it is.

        Raises ConflictError when it is gone or was changed since (its `resourceVersion` tells).
        """
        what = f"replace {body['kind']} {body['metadata']['name']}"
        resource = self._resource(body["kind"])
        with explained(what):
            try:
                return self._write(resource.replace, body=dict(body), field_manager=FIELD_MANAGER)
            except DynamicApiError as error:
                if error.status == _NOT_FOUND:
                    raise ConflictError(
                        f"cannot {what}: it is gone", why=_message(error)
                    ) from error
                raise

    def dry_run(self, body: Mapping[str, Any]) -> Object:
        """Return the object as applying `body` would leave it; nothing is written."""
        kind, name = body["kind"], body["metadata"]["name"]
        resource = self._resource(kind)
        with explained(f"check {kind} {name}"):
            return self._request(
                resource.server_side_apply,
                body=dict(body),
                name=name,
                field_manager="vllm-flows-dry-run",
                force_conflicts=True,
                dry_run="All",
            )

    def annotate(self, kind: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set (or with None remove) annotations of an object; all others stay."""
        self.merge(kind, name, {"metadata": {"annotations": dict(annotations)}})

    def merge(self, kind: str, name: str, fields: Mapping[str, Any]) -> None:
        """Set (or with None remove) fields of an object that is there; all others stay."""
        resource = self._resource(kind)
        with explained(f"change {kind} {name}"):
            self._write(
                resource.patch,
                name=name,
                body=dict(fields),
                content_type="application/merge-patch+json",
            )

    def delete(self, kind: str, name: str, *, alone: bool = False) -> bool:
        """Delete the object and what it owns, or it `alone`; return whether there was one."""
        resource, policy = self._resource(kind), "Orphan" if alone else "Background"
        with explained(f"delete {kind} {name}"):
            try:
                self._write(resource.delete, name=name, propagation_policy=policy)
            except DynamicApiError as error:
                if error.status == _NOT_FOUND:
                    return False
                raise
        return True

    def log(
        self, pod: str, container: str | None = None, lines: int = 50, *, previous: bool = False
    ) -> str:
        """Return the last lines of a container's log; empty when there is none yet.

        `previous` is the run before the one that runs now. It shows no secret.
        """
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        query: list[tuple[str, object]] = [("tailLines", lines)]
        if container:
            query.append(("container", container))
        if previous:
            query.append(("previous", "true"))
        try:
            self.collect_secrets()
            with explained(f"read the log of pod {pod}"):
                response = self.api.request(
                    "get",
                    path,
                    query_params=query,
                    serialize=False,
                    _request_timeout=(_CONNECT_SECONDS, self.read_seconds),
                )
        except ClusterError:
            return ""
        # Here, before a part of it is told: of half a secret the value is not found.
        return redacted(bytes(response.data).decode("utf-8", "replace"))

    def collect_secrets(self) -> None:
        """Collect, once, the Hub token and the API key: pods that are given them may write them.

        What this account may not read is not ours to hide.
        """
        for name in {HF_TOKEN_SECRET, API_KEY_SECRET} - self.collected:
            with suppress(NoRightError):
                self.get("Secret", name)
            self.collected.add(name)

    def _request(self, call: Any, **parameters: Any) -> Object:  # noqa: ANN401 -- untyped library
        return self._patiently(lambda: self._once(call, parameters))

    def _write(self, call: Any, **parameters: Any) -> Object:  # noqa: ANN401 -- untyped library
        def ask() -> Object:
            self.guard()  # here, as what it guards may end while the API does not answer
            return self._once(call, parameters)

        return self._patiently(ask)

    def _once(self, call: Any, parameters: Mapping[str, Any]) -> Object:  # noqa: ANN401 -- untyped library
        where = {"namespace": self.namespace, **parameters}
        timeouts = (_CONNECT_SECONDS, self.read_seconds)
        # The plain JSON: the library's own objects take five times as long to make.
        response = call(_request_timeout=timeouts, serialize=False, **where)
        answer: Object = json.loads(response.data)
        return answer

    def _patiently(self, ask: Callable[[], Object]) -> Object:
        """Ask again while the API does not answer; all requests here can be made twice."""
        if self.patience is None:
            return ask()
        clock, begin, told = self.patience.clock, self.patience.clock.now(), 0.0
        while True:
            try:
                return ask()
            except _FAILURES as error:
                waited = clock.now() - begin
                if not _passing(error) or waited >= self.patience.seconds:
                    raise
                if waited >= told:
                    self.patience.say(f"the Kubernetes API does not answer: {_root_cause(error)}")
                    told = waited + _REMIND_SECONDS
                clock.sleep(_ASK_AGAIN_SECONDS)

    def _resource(self, kind: str) -> Resource:
        group, version, plural, namespaced = _RESOURCES[kind]
        return Resource(
            prefix="apis" if group else "api",
            group=group,
            api_version=version or self.external_secrets,
            kind=kind,
            namespaced=namespaced,
            name=plural,
            client=self.api,
        )


def _collected(found: Object) -> Object:
    """Keep the values of a Secret out of all that is said from now on."""
    if found.get("kind") == "Secret":
        for value in (found.get("data") or {}).values():
            collect(b64decode(value).decode("utf-8", "replace"))
    return found


def _passing(error: Exception) -> bool:
    return not isinstance(error, DynamicApiError) or error.status in _TRY_LATER


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the client's exceptions into ours; 404 is left to those who expect it."""
    try:
        yield
    except ApiException as error:
        raise _refusal(what, error) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ClusterUnavailableError(
            f"cannot {what}: the Kubernetes API does not answer",
            why=_root_cause(error),
            next_command="kubectl cluster-info",
        ) from error


def _refusal(what: str, error: ApiException) -> ClusterError:
    message = _message(error)
    if error.status in _TRY_LATER:
        return ClusterUnavailableError(
            f"cannot {what}: the Kubernetes API answered {error.status}",
            why=message,
            next_command="kubectl get --raw /readyz",
        )
    if "being terminated" in message:
        hint = "wait until `kubectl get namespaces` no longer lists it, then run this again"
        return ClusterError(f"cannot {what}: the namespace is being deleted", next_command=hint)
    if error.status == _UNAUTHORIZED:
        hint = "kubectl auth whoami   (log in anew as your cluster wants it, or name a --context)"
        return NoRightError(
            f"cannot {what}: the cluster does not accept this login",
            why=f"{message}: the login of the kubeconfig is expired, or unknown to the cluster",
            next_command=hint,
        )
    if error.status == _FORBIDDEN:
        hint = "vllm-flows doctor   (which rights are missing, and what grants them)"
        return NoRightError(f"no right to {what}", why=message, next_command=hint)
    kind = ConflictError if error.status == _CONFLICT else ClusterError
    return kind(f"cannot {what}: the Kubernetes API refused it ({error.status})", why=message)


def _message(error: ApiException) -> str:
    """Return the `message` of the API's Status object, else the bare reason."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)


def _root_cause(error: BaseException) -> str:
    """Return the innermost exception's text, which names the address and what went wrong."""
    while (inner := getattr(error, "reason", None) or error.__cause__) and isinstance(
        inner, BaseException
    ):
        error = inner
    return str(error).splitlines()[0] if str(error) else type(error).__name__
