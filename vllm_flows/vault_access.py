"""How Vault is reached and logged in to, from the settings and the files that they name."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from vllm_flows.errors import ConfigurationError
from vllm_flows.redaction import collect
from vllm_flows.settings import Settings

TOKEN_FILE = Path("~/.vault-token")
"""Where `vault login` leaves its token."""
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+(/[^\s?#@]*)?")


@dataclass(frozen=True)
class TokenLogin:
    """A token that is there; `source` says where it is from."""

    token: str = field(repr=False)
    source: str


@dataclass(frozen=True)
class KubernetesLogin:
    """A service account that proves itself by its own token, the `jwt`."""

    role: str
    jwt: str = field(repr=False)
    mount: str


@dataclass(frozen=True)
class AppRoleLogin:
    """A RoleID and a SecretID, or (`wrapped`) a wrapping token that holds one."""

    role_id: str
    secret_id: str = field(repr=False)
    mount: str
    wrapped: bool = False


Login = TokenLogin | KubernetesLogin | AppRoleLogin


@dataclass(frozen=True)
class Access:
    """Where Vault is, and how to log in to it."""

    address: str
    namespace: str
    ca_cert: str
    mount: str
    login: Login
    allow_root: bool = False


def access_of(settings: Settings, store_address: str = "") -> Access:
    """Return what the settings say.

    `store_address` is where the ClusterSecretStore finds Vault, for the advice. Raises
    ConfigurationError for what is missing, or cannot be used.
    """
    return Access(
        address_of(settings, store_address),
        settings.vault_namespace,
        _ca_cert(settings.vault_ca_cert),
        settings.vault_mount,
        _login(settings),
        settings.vault_allow_root,
    )


def address_of(settings: Settings, store_address: str = "") -> str:
    """Return Vault's address. Raises ConfigurationError without one, or for one that is none."""
    address = settings.vault_address.strip().rstrip("/")
    if not address:
        from_cluster = f"; the cluster reaches it at {store_address}" if store_address else ""
        raise ConfigurationError(
            "the address of Vault is not known",
            why=f"neither VLLM_VAULT_ADDRESS nor VAULT_ADDR is set{from_cluster}",
            next_command="export VLLM_VAULT_ADDRESS=https://vault.example.com:8200",
        )
    if not _ADDRESS.fullmatch(address):
        raise ConfigurationError(
            "VLLM_VAULT_ADDRESS (or VAULT_ADDR) is no address",
            why="it has to begin with http:// or https://, and holds no user or password",
            next_command="export VLLM_VAULT_ADDRESS=https://vault.example.com:8200",
        )
    return address


def _ca_cert(path: str) -> str:
    """Return the file; OpenSSL reads it now, as later it would be told as Vault's silence."""
    if not path:
        return ""
    file = Path(path).expanduser()
    try:
        if not file.is_dir():
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "it is not in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(
            f"there is no CA certificate at {path}" if missing else f"{path} is no CA certificate",
            why="VLLM_VAULT_CA_CERT (or VAULT_CACERT) names it"
            + ("" if missing else f": {reason}"),
            next_command="export VLLM_VAULT_CA_CERT=FILE   (in PEM), or unset it",
        ) from None
    return str(file)


def _login(settings: Settings) -> Login:
    match settings.vault_login:
        case "kubernetes":
            return _kubernetes(settings)
        case "approle":
            return _approle(settings)
        case _:
            return _token(settings)


def _token(settings: Settings) -> TokenLogin:
    if settings.vault_token:
        source = "VLLM_VAULT_TOKEN (or VAULT_TOKEN)"
        return TokenLogin(_sendable(settings.vault_token.get_secret_value(), source), source)
    text = _read(TOKEN_FILE.expanduser())
    if not text:
        raise ConfigurationError(
            "there is no Vault token",
            why=f"VLLM_VAULT_TOKEN and VAULT_TOKEN are not set, and {TOKEN_FILE} is not there",
            next_command="vault login   (or set VLLM_VAULT_LOGIN to kubernetes or approle)",
        )
    return TokenLogin(_sendable(text, str(TOKEN_FILE)), str(TOKEN_FILE))


def _kubernetes(settings: Settings) -> KubernetesLogin:
    if not settings.vault_role:
        raise _missing("VLLM_VAULT_ROLE", "the role of Vault's Kubernetes login")
    file = settings.vault_jwt_file
    text = _read(file)
    if not text:
        raise ConfigurationError(
            f"there is no service account token in {file}",
            why="the Kubernetes login works in a pod, or with a file that holds such a token",
            next_command="kubectl create token ACCOUNT > FILE, and export VLLM_VAULT_JWT_FILE=FILE",
        )
    mount = settings.vault_login_mount.strip("/") or "kubernetes"
    return KubernetesLogin(settings.vault_role, _sendable(text, str(file)), mount)


def _approle(settings: Settings) -> AppRoleLogin:
    if not settings.vault_role_id:
        raise _missing("VLLM_VAULT_ROLE_ID", "the RoleID of the AppRole login")
    mount = settings.vault_login_mount.strip("/") or "approle"
    given: SecretStr | None = settings.vault_wrapped_secret_id or settings.vault_secret_id
    if given is None:
        raise _missing(
            "VLLM_VAULT_WRAPPED_SECRET_ID", "a wrapped SecretID (or VLLM_VAULT_SECRET_ID, a bare)"
        )
    wrapped = settings.vault_wrapped_secret_id is not None
    variable = "VLLM_VAULT_WRAPPED_SECRET_ID" if wrapped else "VLLM_VAULT_SECRET_ID"
    value = _sendable(given.get_secret_value(), variable)
    return AppRoleLogin(settings.vault_role_id, value, mount, wrapped)


def _missing(variable: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{variable} is not set",
        why=f"it has {what}",
        next_command=f"set {variable} in the environment or in .env, then run again",
    )


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(
            f"{file} cannot be read", why=str(why), next_command=f"ls -l {file}"
        ) from None


def _sendable(value: str, source: str) -> str:
    """Return the value; one that no header can hold would be quoted in a library's error."""
    text = value.strip()
    collect(text)
    if text and text.isascii() and text.isprintable() and " " not in text:
        return text
    raise ConfigurationError(
        f"{source} holds no usable value",
        why="it is empty, or has blanks, line breaks or other characters that no token has",
        next_command="vault login   (or correct it where it comes from)",
    )
