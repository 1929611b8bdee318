"""Who may see what: the Hub's decisions about tokens and gated repositories.

Status codes and the `X-Error-Code` and `X-Error-Message` headers are those that
`huggingface_hub` turns into its exceptions (`utils/_http.py`, `hf_raise_for_status`).
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.hub.repository import Repository

TOKEN_WITHOUT_GRANT = "hf_sandbox_nogate"  # noqa: S105 -- a public token of the sandbox
"""A valid token whose user was not granted access to any gated repository."""


class RefusedError(Exception):
    """The Hub answers a request with an error."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


@dataclass(frozen=True)
class User:
    """Whose token a request carried, and whether gated repositories are open to them."""

    name: str
    granted: bool


def identify(authorization: str | None, granted_token: str) -> User | None:
    """Return the user of an Authorization header, None when there is no header.

    Raises RefusedError (401) for a token that the Hub does not know.
    """
    if not authorization:
        return None
    token = authorization.removeprefix("Bearer ").strip()
    if token == granted_token:
        return User("sandbox", granted=True)
    if token == TOKEN_WITHOUT_GRANT:
        return User("sandbox-nogate", granted=False)
    raise RefusedError(401, "Invalid credentials in Authorization header")


def check_exists(repository: Repository | None, user: User | None) -> Repository:
    """Return the repository; raise RefusedError when there is none.

    Like the Hub it tells an anonymous client 401, so that private names do not show, and
    answers 404 to a known user only.
    """
    if repository is not None:
        return repository
    if user is None:
        raise RefusedError(401, "Invalid username or password.")
    raise RefusedError(404, "Repository not found", "RepoNotFound")


def check_content(repository: Repository, user: User | None) -> None:
    """Raise RefusedError when the user may not download from a gated repository."""
    if not repository.sample.gated or (user and user.granted):
        return
    restricted = f"Access to model {repository.sample.repo_id} is restricted"
    if user is None:
        raise RefusedError(
            401,
            f"{restricted}. You must have access to it and be authenticated to access it. "
            "Please log in.",
            "GatedRepo",
        )
    raise RefusedError(
        403,
        f"{restricted} and you are not in the authorized list. "
        f"Visit https://huggingface.co/{repository.sample.repo_id} to ask for access.",
        "GatedRepo",
    )


def describe(user: User) -> dict[str, object]:
    """Return what `whoami` answers, with a fine-grained token."""
    fine_grained = {
        "canReadGatedRepos": True,
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
