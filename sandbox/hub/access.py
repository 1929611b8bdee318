"""Who may see what: the Hub's decisions about tokens and gated repositories.

Status codes and the `X-Error-Code` and `X-Error-Message` headers are those that
`huggingface_hub` turns into its exceptions (`utils/_http.py`, `hf_raise_for_status`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sandbox.hub.repository import Repository

TOKEN_VARIABLE = "VLLM_SANDBOX_HF_TOKEN"  # noqa: S105 -- a variable's name
"""Holds the token that opens gated repositories: a command line can be read by everybody."""
TOKEN_WITHOUT_GRANT = "hf_sandbox_nogate"  # noqa: S105 -- a public token of the sandbox
"""A valid token whose user never asked for access to a gated repository."""
TOKEN_PENDING = "hf_sandbox_pending"  # noqa: S105 -- likewise
"""Its user's requests for access await review."""
TOKEN_REFUSED = "hf_sandbox_refused"  # noqa: S105 -- likewise
"""Its user's requests for access were rejected."""
TOKEN_WITHOUT_SCOPE = "hf_sandbox_noscope"  # noqa: S105 -- likewise
"""A fine-grained token that may not read gated repositories, though its user was granted access."""
TOKEN_EXPIRED = "hf_sandbox_expired"  # noqa: S105 -- likewise
"""A token whose end has passed."""

Standing = Literal["granted", "not asked", "pending", "refused"]


class RefusedError(Exception):
    """The Hub answers a request with an error."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


@dataclass(frozen=True)
class User:
    """Whose token a request carried, how gates stand to them, and whether the token opens gates."""

    name: str
    standing: Standing
    reads_gated: bool = True

    @property
    def outside(self) -> bool:
        """Say whether private repositories are hidden from them."""
        return self.standing != "granted"


_USERS = {
    TOKEN_WITHOUT_GRANT: User("sandbox-nogate", "not asked"),
    TOKEN_PENDING: User("sandbox-pending", "pending"),
    TOKEN_REFUSED: User("sandbox-refused", "refused"),
    TOKEN_WITHOUT_SCOPE: User("sandbox", "granted", reads_gated=False),
}


def identify(authorization: str | None, granted_token: str) -> User | None:
    """Return the user of an Authorization header, None when there is no header.

    Raises RefusedError (401) for a token that the Hub does not know, or that is expired.
    """
    if not authorization:
        return None
    token = authorization.removeprefix("Bearer ").strip()
    if token == granted_token:
        return User("sandbox", "granted")
    if token in _USERS:
        return _USERS[token]
    if token == TOKEN_EXPIRED:
        raise RefusedError(401, 'User Access Token "sandbox" is expired')
    raise RefusedError(401, "Invalid credentials in Authorization header")


def check_exists(repository: Repository | None, user: User | None) -> Repository:
    """Return the repository; raise RefusedError when there is none, or a private one of others.

    Like the Hub it tells an anonymous client 401, so that private names do not show, and
    answers 404 to a known user only.
    """
    if repository is not None and not (repository.private and (user is None or user.outside)):
        return repository
    if user is None:
        raise RefusedError(401, "Invalid username or password.")
    raise RefusedError(404, "Repository not found", "RepoNotFound")


def check_content(repository: Repository, user: User | None) -> None:
    """Raise RefusedError when the user may not download from a gated repository."""
    if not repository.gated:
        return
    name = repository.sample.repo_id
    if user is None:
        raise RefusedError(
            401,
            f"Access to model {name} is restricted. You must have access to it and be "
            "authenticated to access it. Please log in.",
            "GatedRepo",
        )
    if not user.reads_gated:
        raise RefusedError(
            403,
            "Please enable access to public gated repositories in your fine-grained token "
            "settings to view this repository.",
        )
    if user.standing != "granted":
        raise RefusedError(403, _at_the_gate(name, user.standing), "GatedRepo")


def _at_the_gate(name: str, standing: Standing) -> str:
    """Return the Hub's words, by which alone these cases differ."""
    if standing == "pending":
        return f"Your request to access model {name} is awaiting a review from the repo authors."
    if standing == "refused":
        return f"Your request to access model {name} has been rejected by the repo's authors."
    return (
        f"Access to model {name} is restricted and you are not in the authorized list. "
        f"Visit https://huggingface.co/{name} to ask for access."
    )


def describe(user: User) -> dict[str, object]:
    """Return what `whoami` answers, with a fine-grained token."""
    fine_grained = {
        "canReadGatedRepos": user.reads_gated,
        "global": [],
        "scoped": [
            {
                "entity": {"_id": "0" * 24, "type": "user", "name": user.name},
                "permissions": ["repo.content.read"],
            }
        ],
    }
    token = {
        "displayName": "sandbox",
        "role": "fineGrained",
        "createdAt": "2026-01-05T09:00:00.000Z",
        "fineGrained": fine_grained,
    }
    return {
        "type": "user",
        "id": "0" * 24,
        "name": user.name,
        "fullname": "Sandbox user",
        "isPro": False,
        "orgs": [],
        "auth": {"type": "access_token", "accessToken": token},
    }
