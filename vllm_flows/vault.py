"""The adapter to Vault: one KV version 2 engine, read and written by check-and-set.

With `vault_client`, which alone imports `hvac`, and `vault_login`. Every refusal becomes one of our
errors with the next command; none repeats a token or a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vllm_flows.errors import VaultError, VllmFlowsError
from vllm_flows.guarding import Guard, unguarded
from vllm_flows.redaction import collect
from vllm_flows.vault_access import Access
from vllm_flows.vault_client import Client, RefusedError, ask, client_of, data_of
from vllm_flows.vault_login import log_in, log_out, looked_after
from vllm_flows.vault_refusals import (
    NOT_FOUND,
    Asked,
    Mount,
    Refusal,
    explain,
    old_engine,
    wrong_engine,
)
from vllm_flows.vault_tokens import Token


@dataclass(frozen=True)
class Held:
    """What is at a path: all its keys, and the version to name when it is written; 0 for none."""

    version: int
    values: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Vault:
    """A Vault that let us in. Every write calls `guard` first, which raises to prevent it.

    Every method raises VaultError when Vault refuses, VaultUnavailableError, which a retry can
    help, when it does not answer, and ConfigurationError when a setting is at fault.
    """

    access: Access
    client: Client
    token: Token
    guard: Guard = unguarded

    @classmethod
    @contextmanager
    def opened(cls, access: Access, guard: Guard = unguarded) -> Iterator[Vault]:
        """Log in, and out again where it was more than showing a token."""
        client = client_of(access)
        try:
            log_in(access, client)
            yield cls(access, client, looked_after(access, client), guard)
        finally:
            log_out(access, client)
            client.adapter.close()

    def read(self, path: str) -> Held:
        """Return what is at a path of the mount, and its version."""
        asked = self._asked("read", path)
        try:
            answer = self._ask(
                lambda: self.client.secrets.kv.v2.read_secret_version(
                    path, mount_point=self.access.mount, raise_on_deleted_version=True
                )
            )
        except RefusedError as error:
            return self._absent(asked, error)
        data = data_of(self.access, answer)
        if "metadata" not in data:  # what an engine of version 1 keeps at a path of this name
            raise old_engine(self.access.mount)
        values = data.get("data") or {}
        collect(*(value for value in values.values() if isinstance(value, str)))
        return Held(int(data["metadata"]["version"]), values)

    def write(self, path: str, key: str, value: str, held: Held | None = None) -> bool:
        """Bring a key to the value, and leave the others at the path; return whether it wrote.

        Raises VaultConflictError when somebody else wrote there since it was read: by this, or
        before, as `held`.
        """
        held = held or self.read(path)
        if held.values.get(key) == value:
            return False
        self._put(path, held.version, {**held.values, key: value})
        return True

    def remove(self, path: str, key: str) -> bool:
        """Take a key away, and leave the others at the path; return whether it was there.

        That is a new version as well: the older ones stay in Vault's history. Raises
        VaultConflictError as `write` does.
        """
        held = self.read(path)
        if key not in held.values:
            return False
        rest = {name: value for name, value in held.values.items() if name != key}
        self._put(path, held.version, rest)
        return True

    def _put(self, path: str, version: int, values: Mapping[str, Any]) -> None:
        asked = self._asked("write", path)
        self.guard()
        try:
            answer = self._ask(
                lambda: self.client.secrets.kv.v2.create_or_update_secret(
                    path, dict(values), cas=version, mount_point=self.access.mount
                )
            )
        except RefusedError as error:
            raise self._explained(asked, error.refusal) from None
        if not isinstance(answer, dict):  # no version: an engine that has none took it for a value
            self._take_back(path)

    def _take_back(self, path: str) -> NoReturn:
        """Delete what an engine of version 1 was given unawares, and say what it is."""
        with suppress(RefusedError):
            self._ask(
                lambda: self.client.secrets.kv.v1.delete_secret(
                    f"data/{path}", mount_point=self.access.mount
                )
            )
        raise old_engine(self.access.mount)

    def _absent(self, asked: Asked, error: RefusedError) -> Held:
        """Return what is known of a path where nothing is; raises when that is not why.

        A version that was deleted still counts. A KV engine of version 1 knows no such path, and
        would take a write to it all the same.
        """
        metadata = (error.body.get("data") or {}).get("metadata") or {}
        if error.refusal.status == NOT_FOUND and "version" in metadata:
            return Held(int(metadata["version"]), {})
        nothing = error.refusal.status == NOT_FOUND and not error.refusal.says("no handler")
        if not nothing:
            raise self._explained(asked, error.refusal) from None
        wrong = wrong_engine(self.access.mount, self._mount())
        if wrong:
            raise wrong from None
        return Held(0, {})

    def _explained(self, asked: Asked, refusal: Refusal) -> VllmFlowsError:
        """Say what a refusal means; what is mounted there may say it better."""
        error = explain(asked, refusal)
        if refusal.status == 403:  # noqa: PLR2004 -- HTTP's own
            return wrong_engine(self.access.mount, self._mount()) or error
        return error

    def _mount(self) -> Mount:
        """Ask what is mounted, as `vault kv` does; unknown where that is not told."""
        path = f"/v1/sys/internal/ui/mounts/{self.access.mount}"
        try:
            return Mount.of(data_of(self.access, self._ask(lambda: self.client.adapter.get(path))))
        except (RefusedError, VaultError):
            return Mount()

    def _asked(self, do: str, path: str) -> Asked:
        return Asked(do, f"{self.access.mount}/data/{path}", self.access.address)

    def _ask(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 -- untyped library
        return ask(self.access, call)
