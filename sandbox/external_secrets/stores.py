"""A store's status: whether its Vault lets the controller in."""

from __future__ import annotations

from typing import Any

from sandbox.agent.api import Api
from sandbox.agent.events import Recorder
from sandbox.agent.records import timestamp
from sandbox.external_secrets.decisions import with_condition
from sandbox.external_secrets.vault import VaultError, session

Object = dict[str, Any]


class InvalidError(Exception):
    """The store can't be used now; its condition says so, and it is to be tried again."""


def validate(api: Api, recorder: Recorder, store: Object, path: str) -> None:
    """Log in with a store's credentials and write what came of it into its status.

    Raises InvalidError after it wrote that the store can't be used.
    """
    try:
        problem, why = _problem(api, store)
        if problem:
            recorder.record(store, "InvalidProviderConfig", why, warning=True)
            _write(api, store, path, ready=False, reason="InvalidProviderConfig", message=problem)
            raise InvalidError(why)
    except ValueError as error:
        raise InvalidError(str(error)) from error
    recorder.record(store, "Valid", "store validated")
    _write(api, store, path, ready=True, reason="Valid", message="store validated")


def _problem(api: Api, store: Object) -> tuple[str, str]:
    """Return what is wrong with a store, for its condition and for its event; empty if nothing."""
    if store["kind"] == "ClusterSecretStore" and _depends_on_namespace(store):
        return "", ""
    try:
        with session(api, store, store["metadata"].get("namespace", "")) as opened:
            try:
                opened.check()
            except VaultError as error:
                return "unable to validate store", str(error)
    except VaultError as error:
        return "unable to create client", str(error)
    return "", ""


def _depends_on_namespace(store: Object) -> bool:
    """Whether a credential is looked for beside each ExternalSecret, so can't be tried here."""
    auth = store["spec"]["provider"]["vault"].get("auth") or {}
    kubernetes, role = auth.get("kubernetes") or {}, auth.get("appRole") or {}
    references = (
        auth.get("tokenSecretRef"),
        role.get("secretRef"),
        kubernetes.get("secretRef"),
        kubernetes.get("serviceAccountRef"),
    )
    return any(reference and not reference.get("namespace") for reference in references)


def _write(api: Api, store: Object, path: str, *, ready: bool, reason: str, message: str) -> None:
    conditions = (store.get("status") or {}).get("conditions") or []
    changed = with_condition(
        conditions, ready=ready, reason=reason, message=message, now=timestamp()
    )
    status: Object = {"conditions": changed}
    if ready:
        status["capabilities"] = "ReadWrite"
    api.patch(f"{path}/status", {"status": status})
