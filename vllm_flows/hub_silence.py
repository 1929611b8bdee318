"""What it means that the Hub does not answer, and what to do about it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_flows.errors import HubUnavailableError
from vllm_flows.hub_refusals import Question
from vllm_flows.sizes import human_seconds

_TOO_MANY_REQUESTS = 429
_LONGEST_SECONDS = 24 * 3600.0
"""Nobody is told to wait longer than a day, whatever the Hub asks for."""


@dataclass(frozen=True)
class Silence:
    """Why there is no answer: in words, and the last try's status (0 without an answer).

    `after` are the seconds that the Hub asked to wait, None when it did not. `unasked`: this
    shell forbids to ask it.
    """

    why: str
    status: int = 0
    after: float | None = None
    unasked: bool = False


def explain_silence(silence: Silence, question: Question) -> HubUnavailableError:
    """Return the error: how the Hub is silent, why, and the command to run."""
    if silence.unasked:
        return HubUnavailableError(
            "the Hub is not asked: HF_HUB_OFFLINE is set here",
            why="huggingface_hub then makes no request (TRANSFORMERS_OFFLINE does the same)",
            next_command="unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE, then run this again",
            model=question.model,
        )
    if silence.status == _TOO_MANY_REQUESTS:
        return _limited(silence, question)
    what, why = "does not answer", silence.why
    if silence.status and silence.after:
        what = f"answers HTTP {silence.status}"
        why = f"it wants to be asked again in {_shown(silence.after)}"
    elif silence.status:
        what = f"answers HTTP {silence.status}"
        why = "at every try; the fault lies with it, or with what is in between"
    return HubUnavailableError(
        f"the Hub at {question.endpoint} {what}",
        why=why,
        next_command=f"curl -sSI {question.endpoint}",
        model=question.model,
    )


def _shown(seconds: float) -> str:
    return human_seconds(min(seconds, _LONGEST_SECONDS))


def _limited(silence: Silence, question: Question) -> HubUnavailableError:
    """Say when to come back. The Hub counts the requests of an account, or of an address."""
    later = "later"
    if silence.after is not None:
        later = f"in {_shown(silence.after)}"
    if question.token_source:
        why = f"the account of the token of {question.token_source} has made too many"
        hint = f"run this again {later}"
    else:
        why = "without a token the requests of all who share this address are counted together"
        hint = f"run this again {later}, or with a token: vllm-flows set-hf-token"
    return HubUnavailableError(
        f"the Hub at {question.endpoint} limits requests (HTTP {silence.status})",
        why=why,
        next_command=hint,
        model=question.model,
    )
