"""A server of the sandbox's Vault: how it is started, made ready, sealed and unsealed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sandbox.errors import SandboxError

if TYPE_CHECKING:
    import hvac

_START_SECONDS = 30.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Keys:
    """What opens a server: its one unseal key, the root token, and tokens that may less.

    `token` is for vllm-flows, `reader` for External Secrets; `authority` is the file of the
    CA's certificate, of a server that speaks HTTPS.
    """

    address: str
    unseal_key: str = field(repr=False)
    root_token: str = field(repr=False)
    token: str = field(default="", repr=False)
    reader: str = field(default="", repr=False)
    authority: str = ""

    def save(self, file: Path) -> None:
        """Write the keys to a file that its owner alone may read."""
        file.touch(mode=0o600)
        file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def client(self, token: str = "") -> hvac.Client:
        """Return a client with this token; without one it has only what nobody is refused."""
        return _client(self.address, token, self.authority)

    def root(self) -> hvac.Client:
        """Return a client that may do everything."""
        return self.client(self.root_token)

    def seal(self) -> None:
        """Seal the server: it answers nothing but that it is sealed. Raises SandboxError."""
        with _explained():
            if not self.client().sys.is_sealed():
                self.root().sys.seal()

    def unseal(self) -> None:
        """Unseal the server; all that it had is there again. Raises SandboxError."""
        with _explained():
            self.client().sys.submit_unseal_key(self.unseal_key)


def load_keys(file: Path) -> Keys | None:
    """Read the keys that `save` wrote; None when there are none."""
    try:
        return Keys(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def command(
    program: Path, port: int, data: Path | None = None, tls: Path | None = None
) -> list[str]:
    """Return the command of a server on 127.0.0.1.

    It keeps what it has in the folder `data`, in memory without one; with `tls` it speaks
    HTTPS and makes its CA (`ca.crt`) and certificate in that folder.
    """
    folders = {"-data": data, "-tls": tls}
    options = [word for name, path in folders.items() if path for word in (name, str(path))]
    return [str(program), "-listen", f"127.0.0.1:{port}", *options]


def initialize(address: str, lives: Callable[[], bool], authority: Path | None = None) -> Keys:
    """Wait until a new server answers, initialize it with one unseal key, and unseal it.

    Raises SandboxError when it does not live or does not answer.
    """
    file = str(authority or "")
    client = _client(address, "", file)
    end = time.monotonic() + _START_SECONDS
    while not _answers(client, authority):
        if not lives() or time.monotonic() > end:
            raise SandboxError("the vault does not start")
        time.sleep(_POLL_SECONDS)
    made = client.sys.initialize(secret_shares=1, secret_threshold=1)
    client.sys.submit_unseal_key(made["keys"][0])
    unseal_key, root_token = made["keys"][0], made["root_token"]
    return Keys(address, unseal_key, root_token, authority=file)


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what the client says of a server that refuses, or is away, into an error's text."""
    from hvac.exceptions import VaultError

    try:
        yield
    except (VaultError, OSError) as error:
        raise SandboxError("the vault can't be told so", why=str(error)) from error


def _client(address: str, token: str, authority: str) -> hvac.Client:
    # It takes longer to import than a sandbox without a Vault may lose.
    import hvac

    made = hvac.Client(url=address, token=token, verify=authority or True)
    made.session.trust_env = False  # no proxy leads to this machine
    return made


def _answers(client: hvac.Client, authority: Path | None) -> bool:
    if authority is not None and not authority.is_file():
        return False
    try:
        client.sys.is_initialized()
    except OSError:
        return False
    return True
