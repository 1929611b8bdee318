"""What the controller asks Vault, over Vault's HTTP API, with the words of Vault's Go client."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from sandbox.agent.api import Api, ApiError

Object = dict[str, Any]

_TIMEOUT_SECONDS = 10.0
_TOKEN_SECONDS = 600


class VaultError(Exception):
    """Vault refused or can't be reached; the text is what the operator's event would say."""


class MissingError(VaultError):
    """Vault holds nothing there."""

    def __init__(self) -> None:
        super().__init__("Secret does not exist")


@dataclass(frozen=True)
class Session:
    """A store's Vault, logged in to."""

    client: httpx.Client
    provider: Object

    def check(self) -> None:
        """Make sure that the token is a live one. Raises VaultError."""
        try:
            _ask(self.client, "GET", "auth/token/lookup-self")
        except VaultError as error:
            raise VaultError(f"invalid vault credentials: {error}") from error

    def values(self, remote: Object) -> Object:
        """Return all that is stored under a remote reference's key. Raises VaultError."""
        query = {"version": remote["version"]} if remote.get("version") else {}
        try:
            answer = _ask(self.client, "GET", self._path(remote["key"]), params=query)
        except VaultError as error:
            raise VaultError(f"cannot read secret data from Vault: {error}") from error
        if answer is None:
            raise MissingError
        data: Object | None = answer.get("data")
        if self.provider.get("version", "v2") == "v2":
            if data is None or "data" not in data:
                raise VaultError("failed to find data field")
            data = data["data"]
        if data is None:
            raise MissingError
        return data

    def value(self, remote: Object) -> bytes:
        """Return one value, or all of them as JSON without a property. Raises VaultError."""
        values = self.values(remote)
        wanted = remote.get("property")
        if not wanted:
            return json.dumps(values).encode()
        if wanted not in values:
            raise VaultError(f'cannot find secret data for key: "{wanted}"')
        return as_bytes(values[wanted])

    def _path(self, key: str) -> str:
        """Return the path of a key in the API; the mount and `data/` may stand in it already."""
        version2 = self.provider.get("version", "v2") == "v2"
        mount = (self.provider.get("path") or "").strip("/")
        if not mount:
            mount, _, key = key.partition("/")
        key = key.removeprefix(f"{mount}/")
        if version2:
            key = f"data/{key.removeprefix('data/')}"
        return f"{mount}/{key}"


def as_bytes(value: object) -> bytes:
    """Return a value as a Secret holds it: a text as it is, anything else as JSON."""
    return (value if isinstance(value, str) else json.dumps(value)).encode()


@contextmanager
def session(api: Api, store: Object, namespace: str) -> Iterator[Session]:
    """Log in to the Vault of a store; a token that was got so is given back at the end.

    `namespace` is where the ExternalSecret is, for references that name none. Raises
    VaultError when a credential is missing or refused.
    """
    provider: Object = store["spec"]["provider"]["vault"]
    headers = {"X-Vault-Request": "true"}
    if provider.get("namespace"):
        headers["X-Vault-Namespace"] = provider["namespace"]
    with httpx.Client(
        base_url=f"{provider['server'].rstrip('/')}/v1/",
        headers=headers,
        verify=_trust(provider),
        timeout=_TIMEOUT_SECONDS,
        trust_env=False,
    ) as client:
        auth = provider.get("auth") or {}
        token = _token(client, Credentials(api, store, namespace), auth)
        client.headers["X-Vault-Token"] = token
        own = "tokenSecretRef" not in auth
        try:
            yield Session(client, provider)
        finally:
            if own:
                with suppress(VaultError):
                    _ask(client, "POST", "auth/token/revoke-self")


@dataclass(frozen=True)
class Credentials:
    """The credentials that a store refers to, in the cluster."""

    api: Api
    store: Object
    namespace: str

    def read(self, reference: Object, key: str = "") -> str:
        """Return the value of a key of a Secret. Raises VaultError."""
        namespace, name = self._namespace(reference), reference["name"]
        try:
            secret = self.api.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
        except ApiError as error:
            text = f'cannot get Kubernetes secret "{name}" from namespace "{namespace}": {error}'
            raise VaultError(text) from error
        wanted = reference.get("key") or key
        value = (secret.get("data") or {}).get(wanted)
        if value is None:
            raise VaultError(f'cannot find secret data for key: "{wanted}"')
        return base64.b64decode(value).decode()

    def service_account_token(self, reference: Object) -> str:
        """Return a new token of a service account, for ten minutes. Raises VaultError."""
        namespace, name = self._namespace(reference), reference["name"]
        spec = {"expirationSeconds": _TOKEN_SECONDS, "audiences": reference.get("audiences") or []}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            return str(self.api.create(path, body)["status"]["token"])
        except ApiError as error:
            text = f'cannot request Kubernetes service account token for service account "{name}": '
            raise VaultError(f"{text}{error}") from error

    def _namespace(self, reference: Object) -> str:
        """Return where a reference points: only a cluster's store may point elsewhere."""
        if self.store["kind"] == "ClusterSecretStore" and reference.get("namespace"):
            return str(reference["namespace"])
        return self.namespace


def _token(client: httpx.Client, credentials: Credentials, auth: Object) -> str:
    if reference := auth.get("tokenSecretRef"):
        return credentials.read(reference)
    if role := auth.get("appRole"):
        identifier = role.get("roleId") or credentials.read(role["roleRef"])
        body = {"role_id": identifier, "secret_id": credentials.read(role["secretRef"])}
        return _login(client, role.get("path", "approle"), body)
    if role := auth.get("kubernetes"):
        if reference := role.get("serviceAccountRef"):
            jwt = credentials.service_account_token(reference)
        else:
            jwt = credentials.read(role["secretRef"], key="token")
        body = {"role": role["role"], "jwt": jwt}
        return _login(client, role.get("mountPath", "kubernetes"), body)
    raise VaultError("cannot initialize Vault client: no valid auth method specified")


def _login(client: httpx.Client, mount: str, body: Object) -> str:
    try:
        answer = _ask(client, "PUT", f"auth/{mount}/login", json=body)
    except VaultError as error:
        raise VaultError(f"unable to log in to auth method: {error}") from error
    return str((answer or {})["auth"]["client_token"])


def _ask(client: httpx.Client, method: str, path: str, **options: Any) -> Object | None:  # noqa: ANN401 -- httpx's own options
    """Return Vault's answer; None for a 404 that holds nothing. Raises VaultError."""
    try:
        answer = client.request(method, path, **options)
    except httpx.HTTPError as error:
        raise VaultError(f'{method.title()} "{client.base_url}{path}": {error}') from error
    document = _document(answer)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return document if document and (document.get("data") or document.get("warnings")) else None
    if answer.is_error:
        raise VaultError(_refusal(answer, document))
    return document


def _document(answer: httpx.Response) -> Object:
    try:
        document: Object = answer.json()
    except ValueError:
        return {}
    return document


def _refusal(answer: httpx.Response, document: Object) -> str:
    lines = ["Error making API request.", ""]
    if name := answer.request.headers.get("X-Vault-Namespace"):
        lines.append(f"Namespace: {name}")
    lines += [f"URL: {answer.request.method} {answer.request.url}"]
    lines += [f"Code: {answer.status_code}. Errors:", ""]
    lines += [f"* {error}" for error in document.get("errors") or []]
    return "\n".join(lines)


def _trust(provider: Object) -> ssl.SSLContext | bool:
    if not provider.get("caBundle"):
        return True
    authority = base64.b64decode(provider["caBundle"]).decode()
    try:
        return ssl.create_default_context(cadata=authority)
    except (ssl.SSLError, ValueError) as error:
        text = "cannot set Vault CA certificate: failed to parse certificates from CertPool"
        raise VaultError(text) from error
