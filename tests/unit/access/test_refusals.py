"""Which refusal means what: the Hub's status, X-Error-Code and words, as a table."""

from __future__ import annotations

import pytest

from vllm_flows.hub_refusals import (
    Account,
    Question,
    Reason,
    Refusal,
    access_of,
    explain,
    needs_account,
    reason_of,
)
from vllm_flows.observed import Access

LOG_IN = "Access to model a/b is restricted. You must have access to it and be authenticated."
ASK = "Access to model a/b is restricted and you are not in the authorized list."
PENDING = "Your request to access model a/b is awaiting a review from the repo authors."
REJECTED = "Your request to access model a/b has been rejected by the repo's authors."
SCOPE = (
    "Please enable access to public gated repositories in your fine-grained token settings to "
    "view this repository."
)
KNOWN = Account("somebody")
NO_SCOPE = Account("somebody", reads_gated=False)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (Refusal(401, "GatedRepo", LOG_IN), Reason.NO_TOKEN),
        (Refusal(401, "", "Invalid username or password."), Reason.NO_REPOSITORY),
        (Refusal(401, "RepoNotFound", "Repository not found"), Reason.NO_REPOSITORY),
        (Refusal(404, "RepoNotFound", "Repository not found"), Reason.NO_REPOSITORY),
        (Refusal(404, "RevisionNotFound", "Invalid rev id: x"), Reason.NO_REVISION),
        (Refusal(404, "", "Not Found"), Reason.OTHER),
        (Refusal(451, "", "Unavailable for legal reasons"), Reason.OTHER),
    ],
)
def test_what_an_anonymous_client_is_refused_for(refusal: Refusal, reason: Reason):
    assert reason_of(refusal, None, token=False) is reason
    assert not needs_account(refusal, token=False)


@pytest.mark.parametrize(
    ("refusal", "account", "reason"),
    [
        (Refusal(403, "GatedRepo", ASK), None, Reason.NOT_ASKED),
        (Refusal(403, "GatedRepo", ASK), KNOWN, Reason.NOT_ASKED),
        (Refusal(403, "GatedRepo", ASK), NO_SCOPE, Reason.NO_SCOPE),
        (Refusal(403, "GatedRepo", PENDING), NO_SCOPE, Reason.PENDING),
        (Refusal(403, "GatedRepo", REJECTED), None, Reason.REFUSED),
        (Refusal(403, "GatedRepo", "words of next year"), None, Reason.NOT_ASKED),
        (Refusal(403, "", SCOPE), None, Reason.NO_SCOPE),
        (Refusal(403, "GatedRepo", SCOPE), None, Reason.NO_SCOPE),
        (Refusal(403, "", "Access to this resource is disabled."), None, Reason.DISABLED),
        (Refusal(403, "", "Forbidden"), None, Reason.OTHER),
        (Refusal(401, "", "Invalid credentials in Authorization header"), None, Reason.BAD_TOKEN),
        (Refusal(401, "", 'User Access Token "x" is expired'), None, Reason.EXPIRED_TOKEN),
        (Refusal(401, "", "Invalid username or password."), None, Reason.BAD_TOKEN),
        (Refusal(401, "", "Invalid username or password."), KNOWN, Reason.NO_REPOSITORY),
        (Refusal(401, "GatedRepo", LOG_IN), KNOWN, Reason.BAD_TOKEN),
    ],
)
def test_what_a_token_is_refused_for(refusal: Refusal, account: Account | None, reason: Reason):
    assert reason_of(refusal, account, token=True) is reason


@pytest.mark.parametrize(
    ("refusal", "asked"),
    [
        (Refusal(403, "GatedRepo", ASK), True),
        (Refusal(403, "GatedRepo", PENDING), False),
        (Refusal(403, "", SCOPE), False),
        (Refusal(401, "", "Invalid username or password."), True),
        (Refusal(401, "", "Invalid credentials in Authorization header"), False),
        (Refusal(401, "", 'User Access Token "x" is expired'), False),
        (Refusal(404, "RepoNotFound"), False),
    ],
)
def test_the_token_is_looked_up_only_when_that_can_tell_more(refusal: Refusal, *, asked: bool):
    assert needs_account(refusal, token=True) is asked


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_text_with_a_why_and_a_next_step(reason: Reason):
    question = Question("m", "a/b", "main", "https://hub", "VLLM_HF_TOKEN")
    problem = explain(reason, question, Refusal(403, "", "words"))
    assert problem.what
    assert problem.why
    assert problem.next_command
    assert problem.model == "m"
    assert "a/b" in str(problem) or "VLLM_HF_TOKEN" in str(problem)


def test_a_refusal_without_words_is_told_by_its_status():
    question = Question("m", "a/b", "main", "https://hub")
    assert explain(Reason.OTHER, question, Refusal(403, "", "words")).why == "HTTP 403: words"
    assert explain(Reason.OTHER, question, Refusal(403)).why == "HTTP 403"


def test_every_reason_has_a_state_of_its_own_that_fits_a_column():
    states = [access_of(reason) for reason in Reason]
    assert len(set(states)) == len(Reason)
    assert max(map(len, Access)) <= 14
    assert not {Access.OPEN, Access.GRANTED, Access.SILENT} & set(states)


def test_a_token_of_the_environment_is_replaced_there():
    question = Question("m", "a/b", "main", "https://hub", "VLLM_HF_TOKEN")
    problem = explain(Reason.BAD_TOKEN, question, Refusal(401))
    assert "set VLLM_HF_TOKEN to it (or unset it and: vllm-flows set-hf-token)" in str(problem)


def test_a_token_of_a_secret_is_replaced_by_the_command():
    question = Question("m", "a/b", "main", "https://hub", "Secret hf-token")
    problem = explain(Reason.EXPIRED_TOKEN, question, Refusal(401))
    assert problem.next_command.endswith("settings/tokens, then vllm-flows set-hf-token")
