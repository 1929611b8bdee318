"""Where the Hub token and the API key are kept: plain Secrets, or Vault and ExternalSecrets.

Who reads a value reads the Secret, whoever made it. Only what sets, deletes or moves one comes
here, and talks to Vault where that is where it is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm_flows import credentials, external_secrets
from vllm_flows.another_value import another_value, is_same, not_foreseen
from vllm_flows.cluster import Cluster
from vllm_flows.credentials import Credential, Place
from vllm_flows.errors import AnotherValueError, ConfigurationError, VllmFlowsError
from vllm_flows.kept_secret import Kept
from vllm_flows.secret_mode import Maker, choose, obstacle
from vllm_flows.settings import Settings
from vllm_flows.syncing import Operator
from vllm_flows.waiting import Clock

if TYPE_CHECKING:
    from vllm_flows.vault import Held, Vault


@dataclass(frozen=True)
class Keeper:
    """Keeps the secrets of one namespace; what it waits for is said by `say`.

    With a guarded `cluster` every write, also one to Vault, is checked before.
    """

    cluster: Cluster
    settings: Settings
    say: Callable[[str], None]
    clock: Clock

    def look(self, place: Place) -> Kept:
        """Find out where a secret is kept, or would be."""
        operator = Operator.of(self.cluster)
        secret, external = (
            self.cluster.get("Secret", place.secret),
            operator.external(place.external),
        )
        maker = external_secrets.maker(secret, external, place.external)
        store = operator.store(self.settings.secret_store)
        choice = choose(self.settings.secrets, maker, store, place.secret)
        return Kept(place, self.settings, operator, store, secret, external, maker, choice)

    def store(
        self,
        place: Place,
        credential: Credential,
        *,
        anew: bool = False,
        replacing: bool = False,
    ) -> bool:
        """Bring the secret to the value; return whether anything was written.

        A value that is stored `anew`, by a person's command, is compared with Vault also when the
        Secret holds it, and replaces there what the Secret is made from. Raises ConfigurationError
        when the Secret was made by somebody else, SecretStoreError and VaultError when Vault is
        where it goes and that cannot be, and TimedOutError when it does not come back as the
        Secret; and unless `replacing`, AnotherValueError as `bring` does.
        """
        if credential.stored and not anew:
            return False
        kept = self.look(place)
        if kept.maker is Maker.OTHER:
            self._leave(kept, credential)
            return False
        if not kept.in_vault:
            return credentials.store(self.cluster, place, credential)
        self.check(kept)
        return self.bring(kept, credential, replacing=replacing or (anew and kept.reads_there))

    def bring(self, kept: Kept, credential: Credential, *, replacing: bool = False) -> bool:
        """Bring the value to Vault, and from there to the Secret; return whether that wrote.

        Unless `replacing`, raises AnotherValueError when Vault holds another there: it may be other
        namespaces' as well; VaultConflictError when it comes there at this moment.
        """
        with self._vault(kept) as vault:
            held = vault.read(kept.path)
            if not replacing:
                self._raise_if_another(held, kept, credential)
            wrote = vault.write(kept.path, kept.place.key, credential.value, held)
        return self.attach(kept, credential.value, anew=wrote) or wrote

    def foresee(self, kept: Kept, credential: Credential) -> str:
        """Say what would keep a run from bringing the value to Vault; "" when nothing would.

        Raises AnotherValueError as `bring` does.
        """
        try:
            self.check(kept)
            with self._vault(kept) as vault:
                self._raise_if_another(vault.read(kept.path), kept, credential)
        except AnotherValueError:
            raise
        except VllmFlowsError as error:
            return not_foreseen(kept, error)
        return ""

    def _raise_if_another(self, held: Held, kept: Kept, credential: Credential) -> None:
        value = held.values.get(kept.place.key)
        if value is not None and not is_same(str(value), credential.value):
            raise another_value(kept, credential, self.cluster.namespace)

    def check(self, kept: Kept) -> None:
        """Raise what stands against setting a value by way of Vault.

        What Vault is given the operator brings to the Secret, also where this account then fails.
        """
        found = obstacle(self.settings.secrets, kept.store, self.settings.vault_mount)
        if found:
            raise found
        made = {"create"} if kept.external is None else set()
        kept.operator.raise_if_refused(kept.place.external, {"get", "patch", *made})

    def attach(self, kept: Kept, value: str, *, anew: bool = False) -> bool:
        """Have the Secret made from Vault, which holds `value`; return whether it was not so.

        Where Vault was given it `anew`, a sync of before says nothing.
        """
        before = kept.elsewhere
        same = kept.reads_there and kept.value == value and not anew
        if same and external_secrets.is_synced(kept.external):
            return False
        if before:
            self.say(f"{before} is no longer used here after this, and keeps what it has")
        kept.operator.make(kept.manifest)

        def has_value() -> bool:
            secret = self.cluster.get("Secret", kept.place.secret)
            made = secret and external_secrets.controller(secret).endswith(kept.place.external)
            return bool(made) and credentials.value_in(secret, kept.place) == value

        kept.operator.wait_synced(kept.external, kept.manifest, has_value, self.say, self.clock)
        return True

    def stored(self, place: Place) -> Credential:
        """Return what the Secret holds, whoever makes it.

        Raises NoSecretError without one, SecretStoreError when an ExternalSecret has yet to make
        it, and ConfigurationError for a value that cannot be sent.
        """
        if credentials.read(self.cluster, place, None) is None:
            raise_if_pending(self.cluster, place)
        return credentials.stored(self.cluster, place)

    def removable(self, place: Place) -> Kept | None:
        """Return what there is to remove; None when the namespace has nothing.

        What only Vault holds may be another namespace's. Raises ConfigurationError when the Secret
        was made by somebody else, or from another place of Vault than the settings name, and
        NoRightError when this account may not take away what would be left.
        """
        kept = self.look(place)
        if kept.maker is Maker.OTHER:
            raise credentials.not_ours(kept.owner, place, self.cluster)
        if kept.maker is Maker.SYNCED and kept.elsewhere:
            raise _elsewhere(kept)
        if kept.maker is Maker.SYNCED:
            kept.operator.raise_if_refused(place.external, {"get", "delete"})
        return kept if kept.maker is not Maker.NOBODY else None

    def remove(self, place: Place) -> bool:
        """Take the value away, in Vault first: who is killed half-way finds the rest again.

        Return whether it was still where it is kept. Raises as `removable` does, and VaultError
        when Vault refuses.
        """
        kept = self.removable(place)
        if kept is None:
            return False
        was_there = True
        if kept.maker is Maker.SYNCED:
            with self._vault(kept) as vault:
                was_there = vault.remove(kept.path, kept.place.key)
        self.detach(kept)
        return was_there

    def detach(self, kept: Kept) -> None:
        """Take away what the namespace has: the ExternalSecret and the Secret."""
        if kept.maker is Maker.SYNCED:
            kept.operator.remove(kept.place.external, self.say, self.clock, alone=False)
        self.cluster.delete("Secret", kept.place.secret)

    def held(self, kept: Kept) -> str | None:
        """Return the value that Vault holds; None without one."""
        with self._vault(kept) as vault:
            found = vault.read(kept.path).values.get(kept.place.key)
        return None if found is None else str(found)

    def _vault(self, kept: Kept) -> AbstractContextManager[Vault]:
        from vllm_flows.vault import Vault
        from vllm_flows.vault_access import access_of

        return Vault.opened(access_of(self.settings, kept.store.address), self.cluster.guard)

    def _leave(self, kept: Kept, credential: Credential) -> None:
        """Leave alone what is somebody else's. Raises ConfigurationError for another value.

        SecretStoreError where it has yet to make the Secret.
        """
        if kept.external is not None and kept.secret is None:
            raise kept.operator.not_synced(kept.external)
        if kept.value != credential.value:
            raise credentials.not_ours_to_change(
                kept.owner, kept.place, self.cluster, credential.source
            )


def raise_if_pending(cluster: Cluster, place: Place) -> None:
    """Raise SecretStoreError when a Secret that is not there is to be made by ours.

    Without it a run would take a key that has not come yet for none.
    """
    operator = Operator.of(cluster)
    external = operator.external(place.external)
    if external is not None and not external["metadata"].get("deletionTimestamp"):
        raise operator.not_synced(external)


def _elsewhere(kept: Kept) -> ConfigurationError:
    setting = f"VLLM_{kept.place.path_setting.upper()}"
    return ConfigurationError(
        f"Secret {kept.place.secret} is made from another place than the settings name",
        why=f"ExternalSecret {kept.place.external} reads {kept.elsewhere}, not {kept.where}",
        next_command=f"set {setting} (or VLLM_VAULT_MOUNT, VLLM_SECRET_STORE) to that place, then "
        "run this again",
    )
