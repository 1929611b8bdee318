"""Whose a token is, by the Hub's `whoami`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from sandbox.hub.access import TOKEN_EXPIRED, TOKEN_WITHOUT_SCOPE
from vllm_flows.errors import AccessError, HubUnavailableError
from vllm_flows.hub_refusals import Account
from vllm_flows.hub_token import account_of, describe, shortcoming

if TYPE_CHECKING:
    from conftest import Running, ToldHub

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HUB = "https://huggingface.co"
WHOAMI = "/api/whoami-v2"


def test_the_hub_tells_name_kind_and_gates_of_a_token(hub: Running):
    account = account_of(hub.url, TOKEN_WITHOUT_SCOPE, "here")
    said = "token of sandbox: fine-grained, may not read gated repositories, no end named"
    assert describe(account) == said


@pytest.mark.parametrize(
    "auth",
    [
        {"expiresAt": "2026-06-10T09:00:00.000Z", "accessToken": {"role": "read"}},
        {"accessToken": {"role": "read", "expiration": "2026-06-10T09:00:00.000Z"}},
    ],
)
def test_the_end_of_a_token_is_read_where_the_hub_says_it(told: ToldHub, auth: object):
    told.tell(WHOAMI, {"name": "jane", "auth": auth})
    account = account_of(told.url, "hf_canary", "here")
    assert describe(account) == "token of jane: may read, until 2026-06-10"


def test_an_end_that_is_no_date_counts_as_none(told: ToldHub):
    told.tell(WHOAMI, {"name": "jane", "auth": {"expiresAt": "soon"}})
    assert account_of(told.url, "hf_canary", "here").expires is None


@pytest.mark.parametrize(
    ("token", "said"),
    [("hf_canary", "does not accept the token of here"), (TOKEN_EXPIRED, "here is expired")],
)
def test_a_token_that_the_hub_does_not_know_is_refused_without_being_shown(
    hub: Running, token: str, said: str
):
    with pytest.raises(AccessError, match=said) as caught:
        account_of(hub.url, token, "here")
    assert token not in str(caught.value)
    assert "settings/tokens" in caught.value.next_command


@pytest.mark.parametrize("status", [403, 429, 500])
def test_a_hub_that_does_not_tell_says_nothing_of_the_token(told: ToldHub, status: int):
    told.tell(WHOAMI, status=status)
    with pytest.raises(HubUnavailableError, match=str(status)):
        account_of(told.url, "hf_canary", "here")
    assert told.asked.count(WHOAMI) == 1


def test_only_what_keeps_a_token_from_its_work_is_a_shortcoming():
    assert shortcoming(Account("jane"), HUB, NOW) is None
    assert shortcoming(Account("jane", expires=NOW.replace(month=9)), HUB, NOW) is None
    ends = shortcoming(Account("jane", expires=NOW.replace(day=10)), HUB, NOW)
    assert ends
    assert ends.what == "the token ends on 2026-06-10"
    gates = shortcoming(Account("jane", reads_gated=False), HUB, NOW)
    assert gates
    assert "may not read gated repositories" in gates.what
