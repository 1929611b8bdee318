"""One kind of secret as it was found: who makes it, where it is kept, and where it would go.

Functions of what was seen and of the settings; nothing is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_flows import credentials, external_secrets
from vllm_flows.credentials import Owner, Place
from vllm_flows.secret_mode import Choice, Maker, Mode, Store, StoreState
from vllm_flows.settings import Settings
from vllm_flows.syncing import Operator

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """One kind of secret: its objects, who makes them, and where the settings want it kept."""

    place: Place
    settings: Settings
    operator: Operator
    store: Store
    secret: Object | None
    external: Object | None
    maker: Maker
    choice: Choice

    @property
    def in_vault(self) -> bool:
        """Say whether Vault is where it is, or goes."""
        return self.choice.mode is Mode.VAULT

    @property
    def owner(self) -> Owner:
        """Say who makes what is not ours."""
        if self.external is not None and self.maker is Maker.OTHER:
            name = self.place.external
            text = f"ExternalSecret {name}, which lacks our label"
            return Owner(text, f"externalsecret {name}")
        return credentials.owner(self.secret or {"metadata": {}})

    @property
    def value(self) -> str | None:
        """Return what the Secret holds."""
        return credentials.value_in(self.secret, self.place)

    @property
    def path(self) -> str:
        """Return the path below Vault's mount where the settings want it."""
        return str(getattr(self.settings, self.place.path_setting))

    @property
    def vault_place(self) -> str:
        """Return mount and path in Vault where the settings want it."""
        return f"{self.settings.vault_mount}/{self.path}"

    @property
    def in_vault_at(self) -> str:
        """Say which place of Vault the settings name, for people."""
        return f"Vault's {self.vault_place}"

    @property
    def where(self) -> str:
        """Say where the settings want the value, for people."""
        return self.in_vault_at if self.in_vault else f"Secret {self.place.secret}"

    @property
    def for_all(self) -> str:
        """Say, to be added, that others may have the value from there; "" where nobody can."""
        shared = self.in_vault and self.maker is not Maker.OTHER
        return f"; {self.where} counts for all namespaces that read it" if shared else ""

    @property
    def given(self) -> str | None:
        """Return what the variable has that overrides the Secret."""
        found = getattr(self.settings, self.place.variable.removeprefix("VLLM_").lower())
        return found.get_secret_value() if found else None

    @property
    def reads_there(self) -> bool:
        """Say whether the Secret is made from where the settings want the value."""
        return self.maker is Maker.SYNCED and not self.elsewhere

    @property
    def elsewhere(self) -> str:
        """Say where it comes from now when the settings want it elsewhere in Vault, else ""."""
        if self.external is None or external_secrets.same_way(self.external, self.manifest):
            return ""
        return external_secrets.read_from(self.external)

    @property
    def source(self) -> str:
        """Say what the Secret was made by, for people."""
        owner = external_secrets.controller(self.secret) if self.secret else ""
        name = f"Secret {self.place.secret}"
        if self.maker is Maker.SYNCED:
            made_by = owner or self.place.external
            return f"{name}, made by {made_by} from {self.elsewhere or self.where}"
        return f"{name}, made by {owner}" if owner else name

    @property
    def objects(self) -> str:
        """Name what goes of the namespace when the secret is deleted, for people."""
        name = f"Secret {self.place.secret}"
        synced = self.maker is Maker.SYNCED
        return f"ExternalSecret {self.place.external} and {name}" if synced else name

    @property
    def everything(self) -> str:
        """Name all that goes when the secret is deleted, for people."""
        if self.maker is not Maker.SYNCED:
            return self.objects
        return f"the key {self.place.key!r} of {self.where}, with {self.objects},"

    @property
    def manifest(self) -> dict[str, Any]:
        """Return the ExternalSecret that makes it, for the store that is there."""
        return external_secrets.manifest(
            self.place.external,
            secret=self.place.secret,
            key=self.place.key,
            version=self.operator.version or "v1",
            store=self.store.name,
            path=self.vault_place if self._names_mount else self.path,
        )

    @property
    def _names_mount(self) -> bool:
        """Say whether each key names its mount, as in a store that has none.

        Who may not look at the store goes by what is there.
        """
        if self.store.state is StoreState.UNKNOWN and self.external is not None:
            return self.vault_place in external_secrets.keys_of(self.external)
        return bool(self.store.address) and not self.store.path
