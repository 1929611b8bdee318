"""A router that knows no model, and which API key is the reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import FakeApi, Serve
from tests.unit.completions.proving import COMPLETION, LIST, FakeSession, prove
from vllm_flows.api_models import why_missing
from vllm_flows.completions import KeyRefusedError, NotYetError
from vllm_flows.credentials import Credential
from vllm_flows.errors import TimedOutError
from vllm_flows.refused_key import OtherKeyError
from vllm_flows.router_key import explaining_unknown, stray, why_unknown

KEY = Credential("key-4", "Secret vllm-api-key", stored=True)
NOBODY: dict[str, Any] = {LIST: {"data": []}, COMPLETION: (404, b"Model 'qwen' not found")}
HELPS = "kubectl -n ns delete pod router-1"


def listing(*names: str) -> dict[str, Any]:
    return NOBODY | {LIST: {"data": [{"id": name} for name in names]}}


def behind(router: FakeApi, engine: FakeApi, **fields: Any) -> FakeSession:
    """Return a model whose replica and router have the mark of the stored key."""
    marks = dict.fromkeys(["pod-1", "pod-2", "router-1"], "of-key-4")
    return FakeSession(router, {"pod-1": engine}, marks=marks, given=KEY, **fields)


def why(session: FakeSession) -> KeyRefusedError | None:
    return why_unknown(session, "qwen")  # type: ignore[arg-type]  # a stand-in


def failed(session: FakeSession) -> Exception:
    with pytest.raises((KeyRefusedError, TimedOutError)) as caught:
        prove(session, KEY.value)
    return caught.value


@pytest.mark.parametrize("told", [NOBODY, {LIST: (503, b"no")}, {LIST: (404, b"no")}])
def test_a_router_that_knows_no_engine_while_they_take_the_stored_key_holds_another(
    serve: Serve, told: dict[str, Any]
):
    found = why(behind(serve(told), serve(key="key-4")))
    assert isinstance(found, OtherKeyError)
    assert (found.next_command, found.model) == (HELPS, "qwen")
    assert "read another when it started" in found.why


def test_a_router_is_given_time_to_meet_the_replicas_and_is_named_before_all_patience_ends(
    serve: Serve,
):
    session = behind(serve(NOBODY), serve(key="key-4"))
    assert isinstance(failed(session), OtherKeyError)
    assert 30 <= session.clock.time < 40


def test_who_became_ready_a_moment_ago_is_not_blamed(serve: Serve):
    session = behind(serve(NOBODY), serve(key="key-4"))
    session.ready_since = (datetime.now(UTC) + timedelta(hours=1)).isoformat()  # as long as it runs
    assert why(session) is None
    assert isinstance(failed(session), TimedOutError)


def test_a_router_that_leads_to_an_engine_that_takes_the_stored_key_holds_it(serve: Serve):
    others = {"pod-2": serve(key="key-4")}
    assert why(behind(serve(listing("other")), serve(key="key-4"), others=others)) is None


def test_a_router_that_leads_to_engines_that_refuse_the_stored_key_holds_theirs(serve: Serve):
    others = {"pod-2": serve(key="key-5")}
    session = behind(serve(listing("other")), serve(key="key-4"), others=others)
    assert isinstance(why(session), OtherKeyError)


def test_that_is_so_where_all_engines_refuse_the_stored_key_too(serve: Serve):
    session: Any = behind(serve(listing("qwen")), serve(key="key-5"))
    assert stray(session, []).pods == ("router-1",)  # type: ignore[union-attr]  # there is one
    session = behind(serve(NOBODY), serve(key="key-5"))
    assert stray(session, []) is None, "a router with the right key lists no such engine"


def test_a_replica_that_refuses_the_stored_key_is_named_and_not_its_router(serve: Serve):
    found = why(behind(serve(NOBODY), serve(key="key-5")))
    assert isinstance(found, OtherKeyError)
    assert found.next_command == "kubectl -n ns delete pod pod-1"


def test_a_router_from_before_a_key_that_is_not_installed_yet_waits_for_the_install(serve: Serve):
    session = behind(serve(NOBODY), serve(key="key-4"))
    session.mark = "of-key-4b"
    found = why(session)
    assert found
    assert found.next_command == "vllm-flows install"
    assert not isinstance(found, OtherKeyError)
    assert isinstance(failed(session), KeyRefusedError)


def test_while_another_run_is_at_work_nobody_is_blamed(serve: Serve):
    session = behind(serve(NOBODY), serve(key="key-4"), at_work=True)
    session.mark = "of-key-4b"
    assert why(session) is None


@pytest.mark.parametrize("given", [None, Credential("key-4", "VLLM_API_KEY", stored=False)])
def test_without_a_stored_key_to_judge_by_nobody_is_blamed(serve: Serve, given: Credential | None):
    session = behind(serve(NOBODY), serve(key="key-4"))
    session.given = given
    assert why(session) is None


def test_an_address_of_ones_own_tells_nothing_of_the_router(serve: Serve):
    session = behind(serve(NOBODY), serve(key="key-4"))
    session.settings.router_url = "http://gateway"
    assert why(session) is None


def test_a_model_without_ready_replicas_is_no_fault_of_a_key(serve: Serve):
    session = behind(serve(NOBODY), serve(key="key-4"))
    session.replicas = {}
    assert why(session) is None


def test_what_the_list_lacks_and_who_asks_once_have_the_same_explanation(serve: Serve):
    session: Any = behind(serve(NOBODY), serve(key="key-4"))
    found = why_missing(session, ["qwen"])
    assert found
    assert found.next_command == HELPS
    with pytest.raises(OtherKeyError), explaining_unknown(session):
        raise NotYetError("not listed yet", model="qwen")
    with pytest.raises(NotYetError), explaining_unknown(session):
        raise NotYetError("not listed yet")
