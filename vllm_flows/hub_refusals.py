"""What a refusal of the Hub means, and what to do about it. Pure.

The Hub tells by status, by `X-Error-Code` and by the words of `X-Error-Message`. The words are the
only sign of some cases: a request that awaits review or was rejected, an expired token, a
fine-grained token that may not read gated repositories.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vllm_flows.errors import AccessError
from vllm_flows.observed import Access

_UNAUTHORIZED = 401
_FORBIDDEN = 403

_PENDING_WORDS = "awaiting a review"
_REFUSED_WORDS = "rejected by"
_EXPIRED_WORDS = "expired"
_UNKNOWN_WORDS = "invalid credentials in authorization header"
_SCOPE_WORDS = "access to public gated repositories"
_DISABLED_WORDS = "access to this resource is disabled"


@dataclass(frozen=True)
class Refusal:
    """An answer of the Hub that is none: status, X-Error-Code and X-Error-Message."""

    status: int
    code: str = ""
    message: str = ""

    @property
    def gated(self) -> bool:
        """Say whether it is the gate that refuses."""
        return self.code == "GatedRepo"


@dataclass(frozen=True)
class Account:
    """Whose token it is by `whoami`, and what the token may.

    `role` is the Hub's word (`read`, `write`, `fineGrained`), "" when it says none; `expires` is
    None when the Hub names no end.
    """

    name: str
    reads_gated: bool = True
    role: str = ""
    expires: datetime | None = None


@dataclass(frozen=True)
class Question:
    """What was asked of the Hub and with whose token (`token_source` is empty without one)."""

    model: str
    repository: str
    revision: str
    endpoint: str
    token_source: str = ""

    @property
    def page(self) -> str:
        """The repository's page."""
        return f"{self.endpoint}/{self.repository}"


class Reason(StrEnum):
    """Why the Hub refuses."""

    NO_TOKEN = "no token"  # noqa: S105 -- a reason, not a token
    BAD_TOKEN = "bad token"  # noqa: S105 -- likewise
    EXPIRED_TOKEN = "expired token"  # noqa: S105 -- likewise
    NO_SCOPE = "no scope"
    NOT_ASKED = "not asked"
    PENDING = "pending"
    REFUSED = "refused"
    NO_REPOSITORY = "no repository"
    NO_REVISION = "no revision"
    DISABLED = "disabled"
    OTHER = "other"


_NOT_FOUND = {
    "RevisionNotFound": Reason.NO_REVISION,
    "RepoNotFound": Reason.NO_REPOSITORY,
}
_ACCESS = {
    Reason.NO_TOKEN: Access.NO_TOKEN,
    Reason.BAD_TOKEN: Access.INVALID,
    Reason.EXPIRED_TOKEN: Access.EXPIRED,
    Reason.NO_SCOPE: Access.NO_SCOPE,
    Reason.NOT_ASKED: Access.NOT_ASKED,
    Reason.PENDING: Access.PENDING,
    Reason.REFUSED: Access.REFUSED,
    Reason.NO_REPOSITORY: Access.NO_REPOSITORY,
    Reason.NO_REVISION: Access.NO_REVISION,
    Reason.DISABLED: Access.DISABLED,
    Reason.OTHER: Access.UNKNOWN,
}
_TOKEN = {Reason.BAD_TOKEN, Reason.EXPIRED_TOKEN, Reason.NO_SCOPE}
_GATE = {Reason.NO_TOKEN, Reason.NOT_ASKED, Reason.PENDING, Reason.REFUSED}


def needs_account(refusal: Refusal, *, token: bool) -> bool:
    """Say whether only `whoami` can tell more: its rate limit is strict, so it is asked rarely.

    A 401 may be about the token or about a repository that it cannot see; who is not in a gate's
    list may have a token that could not use the permission either.
    """
    reason = reason_of(refusal, None, token=token)
    unclear = refusal.status == _UNAUTHORIZED and _UNKNOWN_WORDS not in refusal.message.lower()
    return token and (reason is Reason.NOT_ASKED or (reason is Reason.BAD_TOKEN and unclear))


def reason_of(refusal: Refusal, account: Account | None, *, token: bool) -> Reason:
    """Name the reason; `account` is None when `whoami` was not asked or knows of none."""
    if refusal.status == _UNAUTHORIZED:
        return _unauthorized(refusal, account, token=token)
    if refusal.status == _FORBIDDEN:
        return _forbidden(refusal, account)
    return _NOT_FOUND.get(refusal.code, Reason.OTHER)


def _unauthorized(refusal: Refusal, account: Account | None, *, token: bool) -> Reason:
    """Without a token the Hub answers 401 for what it does not have as for what is private."""
    if not token:
        return Reason.NO_TOKEN if refusal.gated else Reason.NO_REPOSITORY
    if _EXPIRED_WORDS in refusal.message.lower():
        return Reason.EXPIRED_TOKEN
    return Reason.NO_REPOSITORY if account and not refusal.gated else Reason.BAD_TOKEN


def _forbidden(refusal: Refusal, account: Account | None) -> Reason:
    words = refusal.message.lower()
    if _DISABLED_WORDS in words:
        return Reason.DISABLED
    if _SCOPE_WORDS in words:
        return Reason.NO_SCOPE
    return _gate(words, account) if refusal.gated else Reason.OTHER


def _gate(words: str, account: Account | None) -> Reason:
    if _PENDING_WORDS in words:
        return Reason.PENDING
    if _REFUSED_WORDS in words:
        return Reason.REFUSED
    return Reason.NO_SCOPE if account and not account.reads_gated else Reason.NOT_ASKED


def access_of(reason: Reason) -> Access:
    """Return how the repository stands to the token that was refused for this reason."""
    return _ACCESS[reason]


def explain(
    reason: Reason, question: Question, refusal: Refusal, account: Account | None = None
) -> AccessError:
    """Return the error: what is refused, why, and the page to open or the command to run."""
    if reason in _TOKEN:
        return _token_problem(reason, question)
    if reason in _GATE:
        return _gate_problem(reason, question, account)
    return _repository_problem(reason, question, refusal)


def _token_problem(reason: Reason, question: Question) -> AccessError:
    source = question.token_source
    tokens = f"{question.endpoint}/settings/tokens"
    new = f"make a new one at {tokens}, then {_how_to_set(source)}"
    what, why, hint = {
        Reason.BAD_TOKEN: (
            f"the Hub does not accept the token of {source}",
            "it is mistyped, expired or was revoked",
            new,
        ),
        Reason.EXPIRED_TOKEN: (
            f"the token of {source} is expired",
            "its owner gave it an end, which has passed",
            new,
        ),
        Reason.NO_SCOPE: (
            f"the token of {source} may not read gated repositories",
            "it is fine-grained and lacks that permission; accepting the license is not enough",
            f"tick the access to public gated repositories at {tokens}, then run this again",
        ),
    }[reason]
    return AccessError(what, why=why, next_command=hint, model=question.model)


def _how_to_set(source: str) -> str:
    if source.startswith("VLLM_"):
        return f"set {source} to it (or unset it and: vllm-flows set-hf-token)"
    return "vllm-flows set-hf-token"


def _gate_problem(reason: Reason, question: Question, account: Account | None) -> AccessError:
    repository, page = question.repository, question.page
    whose = f"the account {account.name}" if account else "this account"
    what, why, hint = {
        Reason.NO_TOKEN: (
            f"{repository} is gated and there is no token",
            "the Hub gives gated models only to accounts that accepted their license",
            f"accept the license at {page}, then: vllm-flows set-hf-token",
        ),
        Reason.NOT_ASKED: (
            f"{repository} is gated and this token has no access to it",
            f"its license was not accepted with {whose}",
            f"accept the license at {page}, then run this again",
        ),
        Reason.PENDING: (
            f"the request for access to {repository} is pending",
            "its authors have not reviewed it yet; the Hub sends a mail once they did",
            f"see {question.endpoint}/settings/gated-repos; run this again once it is accepted",
        ),
        Reason.REFUSED: (
            f"the request for access to {repository} was refused",
            "its authors decide who may read it, and asking again is not possible",
            f"write to the authors ({page}/discussions), or set another `modelURL` in models.yaml",
        ),
    }[reason]
    return AccessError(what, why=why, next_command=hint, model=question.model)


def _repository_problem(reason: Reason, question: Question, refusal: Refusal) -> AccessError:
    repository, page = question.repository, question.page
    hidden = "this token cannot see it" if question.token_source else "needs a token"
    what, why, hint = {
        Reason.NO_REPOSITORY: (
            f"the Hub has no model {repository}",
            f"the id is misspelt, or the repository is private and {hidden}",
            f"open {page} and correct `modelURL` in models.yaml",
        ),
        Reason.NO_REVISION: (
            f"{repository} has no revision {question.revision!r}",
            "it is neither a branch, nor a tag, nor a commit of that repository",
            f"open {page}/commits/main and set `revision` in models.yaml",
        ),
        Reason.DISABLED: (
            f"the Hub has disabled {repository}",
            "nobody can read it any more, whatever the token",
            f"see {page}, and set another `modelURL` in models.yaml",
        ),
        Reason.OTHER: (
            f"the Hub refuses {repository}",
            f"HTTP {refusal.status}" + (f": {refusal.message}" if refusal.message else ""),
            f"open {page}",
        ),
    }[reason]
    return AccessError(what, why=why, next_command=hint, model=question.model)
