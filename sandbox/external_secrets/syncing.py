"""One look at an ExternalSecret: its Secret is made as it should be, and its status written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sandbox.agent.api import Api, ApiError
from sandbox.agent.events import Recorder
from sandbox.agent.records import timestamp
from sandbox.external_secrets import decisions, targets
from sandbox.external_secrets.decisions import FINALIZER, policy_of, target_of
from sandbox.external_secrets.reading import values_of
from sandbox.external_secrets.vault import VaultError

Object = dict[str, Any]

_CONFLICT = 409
_NOT_FOUND = 404
_PROVIDER = "could not get secret data from provider"


class FailedError(Exception):
    """The Secret could not be made; the status says so. `again`: time may mend it."""

    def __init__(self, message: str, why: str, *, again: bool) -> None:
        super().__init__(why)
        self.message = message
        self.again = again


@dataclass(frozen=True)
class Outcome:
    """What became of a look: the condition's reason and message."""

    reason: str
    message: str


@dataclass(frozen=True)
class Syncer:
    """The part of the controller that makes Secrets."""

    api: Api
    recorder: Recorder
    group: str

    def sync(self, external_secret: Object, path: str) -> float | None:
        """Look at an ExternalSecret; return the seconds until the next look, None for never.

        Raises FailedError when it is to be tried again, ApiError when Kubernetes refuses.
        """
        if external_secret["metadata"].get("deletionTimestamp"):
            self._let_go(external_secret, path)
            return None
        self._hold(external_secret, path)
        now, secret = datetime.now(UTC), self._secret(external_secret)
        policy = policy_of(external_secret, "creationPolicy")
        valid = decisions.secret_is_valid(secret, policy)
        if valid and not decisions.refresh_is_due(external_secret, now):
            return decisions.next_refresh(external_secret, now)
        try:
            outcome = self._bring_about(external_secret, secret)
        except FailedError as error:
            self._tell_failure(external_secret, path, error)
            if error.again:
                raise
            return None
        self._tell_success(external_secret, path, outcome, now)
        interval = decisions.seconds(external_secret["spec"].get("refreshInterval") or "1h")
        return interval if interval > 0 else None

    def _bring_about(self, external_secret: Object, secret: Object | None) -> Outcome:
        try:
            values = values_of(self.api, self.group, external_secret)
        except (VaultError, ApiError) as error:
            raise FailedError(_PROVIDER, str(error), again=True) from error
        deletion = policy_of(external_secret, "deletionPolicy")
        if not values and deletion == "Delete":
            self._delete(external_secret, secret)
            return Outcome("SecretDeleted", "secret deleted due to DeletionPolicy=Delete")
        if not values and deletion == "Retain":
            return Outcome("SecretSynced", "secret retained due to DeletionPolicy=Retain")
        creation = policy_of(external_secret, "creationPolicy")
        if creation == "Merge" and secret is None:
            return Outcome(
                "SecretMissing", "secret will not be created due to CreationPolicy=Merge"
            )
        if creation != "None":
            self._write(external_secret, secret, values)
        return Outcome("SecretSynced", "secret synced")

    def _write(
        self, external_secret: Object, secret: Object | None, values: dict[str, bytes]
    ) -> None:
        """Make or change the Secret. Raises FailedError."""
        base = secret or targets.empty_secret(external_secret)
        try:
            wanted = targets.desired(base, external_secret, values)
        except targets.OwnedError as error:
            message = "target is owned by another ExternalSecret"
            raise FailedError(message, str(error), again=False) from error
        except targets.ControlledError as error:
            message = "failed to take ownership of target secret"
            raise FailedError(message, str(error), again=False) from error
        except targets.ImmutableError as error:
            message = "could not update secret, target is immutable"
            raise FailedError(message, str(error), again=False) from error
        if policy_of(external_secret, "creationPolicy") == "Owner":
            self._remove_orphans(external_secret)
        try:
            self._send(external_secret, secret, wanted)
        except ApiError as error:
            if error.status == _CONFLICT:
                raise
            raise FailedError("could not update secret", str(error), again=True) from error

    def _send(self, external_secret: Object, secret: Object | None, wanted: Object) -> None:
        folder = f"/api/v1/namespaces/{external_secret['metadata']['namespace']}/secrets"
        manager = decisions.field_manager(external_secret["metadata"]["name"])
        if secret is None:
            self.api.create(folder, wanted, fieldManager=manager)
            self.recorder.record(external_secret, "Created", "secret created")
        elif wanted != secret:
            name = wanted["metadata"]["name"]
            self.api.replace(f"{folder}/{name}", wanted, fieldManager=manager)
            self.recorder.record(external_secret, "Updated", "secret updated")

    def _remove_orphans(self, external_secret: Object) -> None:
        """Delete Secrets that this ExternalSecret made under another name."""
        folder = f"/api/v1/namespaces/{external_secret['metadata']['namespace']}/secrets"
        selector = f"{decisions.CREATED_BY}={targets.owner_label(external_secret)}"
        for other in self.api.get(folder, labelSelector=selector)["items"]:
            if other["metadata"]["name"] != target_of(external_secret):
                self.api.delete(f"{folder}/{other['metadata']['name']}")
                text = "secret deleted because it was orphaned"
                self.recorder.record(external_secret, "Deleted", text)

    def _delete(self, external_secret: Object, secret: Object | None) -> None:
        creation = policy_of(external_secret, "creationPolicy")
        if creation != "Owner":
            name = target_of(external_secret)
            why = f"unable to delete secret {name}: creationPolicy={creation} is not Owner"
            raise FailedError("could not delete secret", why, again=False)
        if secret is not None:
            metadata = secret["metadata"]
            self.api.delete(
                f"/api/v1/namespaces/{metadata['namespace']}/secrets/{metadata['name']}"
            )
            text = "secret deleted due to DeletionPolicy=Delete"
            self.recorder.record(external_secret, "Deleted", text)

    def _secret(self, external_secret: Object) -> Object | None:
        namespace = external_secret["metadata"]["namespace"]
        path = f"/api/v1/namespaces/{namespace}/secrets/{target_of(external_secret)}"
        try:
            found = self.api.get(path)
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        return {"apiVersion": "v1", "kind": "Secret"} | found

    def _hold(self, external_secret: Object, path: str) -> None:
        finalizers = external_secret["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            self._set_finalizers(external_secret, path, [*finalizers, FINALIZER])

    def _let_go(self, external_secret: Object, path: str) -> None:
        """Let a deleted ExternalSecret end; its policy may want the Secret deleted first."""
        finalizers = external_secret["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return
        secret = self._secret(external_secret)
        if policy_of(external_secret, "deletionPolicy") == "Delete" and secret is not None:
            owners = secret["metadata"].get("ownerReferences") or []
            if external_secret["metadata"]["uid"] in [owner["uid"] for owner in owners]:
                self._delete(external_secret, secret)
        left = [one for one in finalizers if one != FINALIZER]
        self._set_finalizers(external_secret, path, left)

    def _set_finalizers(self, external_secret: Object, path: str, finalizers: list[str]) -> None:
        version = external_secret["metadata"]["resourceVersion"]
        metadata = {"finalizers": finalizers, "resourceVersion": version}
        changed = self.api.patch(path, {"metadata": metadata})
        external_secret["metadata"] = changed["metadata"]

    def _tell_success(
        self, external_secret: Object, path: str, outcome: Outcome, now: datetime
    ) -> None:
        status = {
            "conditions": self._conditions(
                external_secret, outcome.reason, outcome.message, ready=True
            ),
            "refreshTime": timestamp(now),
            "syncedResourceVersion": decisions.version_of(external_secret["metadata"]),
            "binding": {"name": target_of(external_secret)},
        }
        self.api.patch(f"{path}/status", {"status": status})

    def _tell_failure(self, external_secret: Object, path: str, error: FailedError) -> None:
        self.recorder.record(external_secret, "UpdateFailed", str(error), warning=True)
        reason = "SecretSyncedError"
        conditions = self._conditions(external_secret, reason, error.message, ready=False)
        self.api.patch(f"{path}/status", {"status": {"conditions": conditions}})

    def _conditions(
        self, external_secret: Object, reason: str, message: str, *, ready: bool
    ) -> list[Object]:
        conditions = (external_secret.get("status") or {}).get("conditions") or []
        return decisions.with_condition(
            conditions, ready=ready, reason=reason, message=message, now=timestamp()
        )
