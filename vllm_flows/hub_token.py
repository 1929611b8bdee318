"""Whose a Hub token is, what it may, and until when: asked once, and said in a sentence."""

from __future__ import annotations

from datetime import datetime

from vllm_flows.errors import AccessError, HubUnavailableError
from vllm_flows.hub_client import HubClient, RefusedError, SilentError
from vllm_flows.hub_refusals import Account, Question, explain, reason_of
from vllm_flows.hub_silence import Silence, explain_silence
from vllm_flows.waiting import StoppableClock

_NEXT_BYTE_SECONDS = 5.0
_WHOLE_ANSWER_SECONDS = 8.0
_UNAUTHORIZED = 401
_KINDS = {
    "read": "may read",
    "write": "may read and write",
    "fineGrained": "fine-grained",
}
_SOON_DAYS = 14


def account_of(endpoint: str, token: str, source: str) -> Account:
    """Ask the Hub whose token it is; `source` names for people where the token came from.

    Raises AccessError when the Hub does not accept it, and HubUnavailableError when it does not
    tell. The question is put once: the Hub lets it be asked rarely.
    """
    question = Question("", "", "", endpoint, source)
    try:
        return _client(endpoint, token).account()
    except RefusedError as error:
        refusal = error.refusal
        if refusal.status == _UNAUTHORIZED:
            raise explain(reason_of(refusal, None, token=True), question, refusal) from None
        raise HubUnavailableError(
            f"the Hub at {endpoint} does not say whose token it is",
            why=f"HTTP {refusal.status}" + (f": {refusal.message}" if refusal.message else ""),
            next_command=f"open {endpoint}/settings/tokens",
        ) from None
    except SilentError as error:
        raise explain_silence(error.silence, question) from None


def reach(endpoint: str) -> None:
    """Return when a Hub answers there. Raises HubUnavailableError when none does."""
    try:
        _client(endpoint, None).answers()
    except RefusedError as error:
        silence = Silence("", error.refusal.status)
        raise explain_silence(silence, Question("", "", "", endpoint)) from None
    except SilentError as error:
        raise explain_silence(error.silence, Question("", "", "", endpoint)) from None


def _client(endpoint: str, token: str | None) -> HubClient:
    return HubClient(
        endpoint, token, _NEXT_BYTE_SECONDS, StoppableClock(), try_seconds=_WHOLE_ANSWER_SECONDS
    )


def describe(account: Account) -> str:
    """Say in a few words whose token it is, what it may, and until when."""
    kind = _KINDS.get(account.role, account.role or "of unknown kind")
    gates = "" if account.reads_gated else ", may not read gated repositories"
    end = f"until {account.expires:%Y-%m-%d}" if account.expires else "no end named"
    return f"token of {account.name}: {kind}{gates}, {end}"


def shortcoming(account: Account, endpoint: str, now: datetime) -> AccessError | None:
    """Return what will keep the token from its work, now or soon; None when nothing will."""
    page = f"{endpoint}/settings/tokens"
    if not account.reads_gated:
        return AccessError(
            "the token may not read gated repositories",
            why="it is fine-grained and lacks that permission",
            next_command=f"tick the access to public gated repositories at {page}",
        )
    if account.expires and (account.expires - now).days < _SOON_DAYS:
        return AccessError(
            f"the token ends on {account.expires:%Y-%m-%d}",
            next_command=f"make a new one at {page}, then: vllm-flows set-hf-token",
        )
    return None
