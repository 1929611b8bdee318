"""ExternalSecrets in the cluster: looked at, made, hurried, waited for, and taken away."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from vllm_flows import external_secrets
from vllm_flows.cluster import Cluster
from vllm_flows.cluster_questions import external_secrets_version, missing_rights, user_name
from vllm_flows.doctor_vault import judge_external_rights
from vllm_flows.errors import ClusterError, NoRightError, SecretStoreError, TimedOutError
from vllm_flows.external_secrets import FORCE_SYNC, KIND
from vllm_flows.rights import EXTERNAL_SECRETS
from vllm_flows.secret_mode import Store, StoreState
from vllm_flows.waiting import Clock, Pending, wait_for

Object = Mapping[str, Any]

SYNC_SECONDS = 60.0
"""How long the operator may take to bring a value into its Secret."""
_USUAL_SECONDS = 3.0
"""How long it takes as a rule: nobody has to be told of that."""
_ANOTHER = "another value than was set"
_GONE_SECONDS = 90.0
"""The API's garbage collector takes up to half a minute to know a kind that is new."""


@dataclass(frozen=True)
class Operator:
    """The External Secrets Operator as one namespace sees it; `version` is "" without one."""

    cluster: Cluster
    version: str

    @classmethod
    def of(cls, cluster: Cluster) -> Operator:
        """Ask the API in which version it serves ExternalSecrets; who may not ask sees none."""
        try:
            version = external_secrets_version(cluster)
        except NoRightError:
            version = ""
        return cls(replace(cluster, external_secrets=version or "v1"), version)

    def external(self, name: str) -> Object | None:
        """Return the ExternalSecret; None also where this account may not look."""
        if not self.version:
            return None
        try:
            return self.cluster.get(KIND, name)
        except NoRightError:
            return None

    def store(self, name: str) -> Store:
        """Return how the ClusterSecretStore is."""
        if not self.version:
            return Store(name, StoreState.NOT_SERVED)
        try:
            return Store.of(name, self.cluster.get("ClusterSecretStore", name))
        except NoRightError:
            return Store(name, StoreState.UNKNOWN)

    def failure(self, external: Object) -> str:
        """Return why it makes no Secret, with the store's own words; "" when nothing failed."""
        name = external["metadata"]["name"]
        try:
            events = self.cluster.find(
                "Event", fields=f"involvedObject.kind={KIND},involvedObject.name={name}"
            )
        except ClusterError:  # they only say more
            events = []
        return external_secrets.failure(external, events)

    def not_synced(self, external: Object) -> SecretStoreError:
        """Return the error that says that it has made no Secret, and why."""
        name = external["metadata"]["name"]
        return SecretStoreError(
            f"ExternalSecret {name} has made no Secret yet",
            why=self.failure(external) or "it was not synced so far",
            next_command=f"kubectl -n {self.cluster.namespace} describe externalsecret {name}",
        )

    def raise_if_refused(self, name: str, verbs: set[str]) -> None:
        """Raise NoRightError when this account may not do that to the ExternalSecret `name`.

        Where the API does not tell, nothing stands against it.
        """
        asked = [one for one in EXTERNAL_SECRETS if one.name in {"", name} and one.verb in verbs]
        try:
            missing = missing_rights(self.cluster, asked)
            user = user_name(self.cluster) if missing else ""
        except ClusterError:
            return
        if missing:
            found = judge_external_rights(missing, self.cluster.namespace, user)
            raise NoRightError(
                f"{found.found}; nothing was changed",
                why="without that right it would stop half-way",
                next_command=found.fix,
            )

    def make(self, body: Object) -> None:
        """Bring the ExternalSecret to `body`, and have it synced now whatever it was before."""
        self.cluster.apply(body)
        moment = datetime.now(UTC).isoformat(timespec="microseconds")
        self.cluster.annotate(KIND, body["metadata"]["name"], {FORCE_SYNC: moment})

    def wait_synced(
        self,
        before: Object | None,
        body: Object,
        has_value: Callable[[], bool],
        say: Callable[[str], None],
        clock: Clock,
    ) -> None:
        """Wait for a sync after `before`, as the ExternalSecret was, and until `has_value`.

        A Secret that had the value already says nothing of whether the operator may read it. Says
        what keeps it, and only what is new of that. Raises TimedOutError with the store's own
        words.
        """
        begin, name = clock.now(), body["metadata"]["name"]
        last_sync = external_secrets.synced_version(before)
        failed_before = self.failure(before) if before else ""

        def ask() -> bool | Pending:
            there, external = has_value(), self.cluster.get(KIND, name) or _nothing(name)
            synced = external_secrets.is_synced(external, last_sync)
            if there and synced:
                return True
            why = self.failure(external)
            if why in {"", failed_before} and clock.now() - begin < _USUAL_SECONDS:
                return Pending("")
            if synced:
                return Pending(f"ExternalSecret {name} is synced, with {_ANOTHER}")
            return Pending(f"ExternalSecret {name} is not synced{': ' + why if why else ' yet'}")

        wait_for(
            ask,
            seconds=SYNC_SECONDS,
            every=0.5,
            say=lambda text: say(f"{text}   (waiting up to {SYNC_SECONDS:.0f} s)"),
            remind=math.inf,
            out_of_time=lambda last: self._too_late(name, last),
            clock=clock,
        )

    def _too_late(self, name: str, last: str) -> TimedOutError:
        why = f"Vault was given the value; the Secret has not got it in {SYNC_SECONDS:.0f} s"
        if last.endswith(_ANOTHER):
            why = "somebody else wrote there in Vault meanwhile, or the store reads another Vault"
        return TimedOutError(
            last,
            why=why,
            next_command=f"kubectl -n {self.cluster.namespace} describe externalsecret {name}",
        )

    def remove(self, name: str, say: Callable[[str], None], clock: Clock, *, alone: bool) -> None:
        """Delete the ExternalSecret and its Secret, or it `alone`, and wait until it is gone."""
        self.cluster.delete(KIND, name, alone=alone)

        def ask() -> bool | Pending:
            there = self.cluster.get(KIND, name)
            return Pending(f"ExternalSecret {name} is being deleted") if there else True

        wait_for(
            ask,
            seconds=_GONE_SECONDS,
            every=0.5,
            say=say,
            out_of_time=lambda last: TimedOutError(
                last,
                why="its finalizers are taken away by the operator and by the API's own collector",
                next_command=f"kubectl -n {self.cluster.namespace} get externalsecret {name} "
                "-o yaml   (then run this again)",
            ),
            clock=clock,
        )


def _nothing(name: str) -> Object:
    return {"metadata": {"name": name}}
