"""A router that knows no model, and which API key is the reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import FakeApi, Serve
from tests.unit.completions.proving import COMPLETION, LIST, FakeSession, prove, qwen
from vllm_flows.api_models import why_missing
from vllm_flows.completions import ModelsApi, NotYetError
from vllm_flows.credentials import Credential
from vllm_flows.errors import RouterError, TimedOutError, VllmFlowsError
from vllm_flows.proof import Proof
from vllm_flows.refused_key import OtherKeyError
from vllm_flows.router_key import LonelyError, explaining_unknown, stray, was_refused, why_unknown

KEY = Credential("key-4", "Secret vllm-api-key", stored=True)
NOBODY: dict[str, Any] = {LIST: {"data": []}, COMPLETION: (404, b"Model 'qwen' not found")}
HELPS = "kubectl -n ns delete pod router-1"
URL = "http://ip-of-pod-1:8000/v1/models"
ASKED = f"\x1b[31;20m[2026-01-02 03:04:05] ERROR:\x1b[0m Failed to get model names from {URL}: "
REFUSED = f"{ASKED}401 Client Error: Unauthorized for url: {URL}\n"
LOST = f"{ASKED}HTTPConnectionPool(host='ip-of-pod-1', port=8000): Read timed out.\n"
FOUND = "[2026-01-02 03:04:05] INFO: Found models on pod ip-of-pod-1: ['qwen']\n"


def listing(*names: str) -> dict[str, Any]:
    return NOBODY | {LIST: {"data": [{"id": name} for name in names]}}


def behind(router: FakeApi, engine: FakeApi, **fields: Any) -> FakeSession:
    """Return a model whose replica and router have the mark of the stored key."""
    marks = dict.fromkeys(["pod-1", "pod-2", "router-1"], "of-key-4")
    told: dict[str, Any] = {"log": f"starts\n{REFUSED}qwen not found\n", **fields}
    return FakeSession(router, {"pod-1": engine}, marks=marks, given=KEY, **told)


def why(session: FakeSession) -> VllmFlowsError | None:
    return why_unknown(session, "qwen")  # type: ignore[arg-type]  # a stand-in


def failed(session: FakeSession) -> Exception:
    with pytest.raises((RouterError, TimedOutError)) as caught:
        prove(session, KEY.value)
    return caught.value


def test_a_router_that_was_refused_by_engines_that_take_the_stored_key_holds_another(serve: Serve):
    found = why(behind(serve(NOBODY), serve(key="key-4")))
    assert isinstance(found, RouterError)
    assert found.next_command == HELPS
    assert "read another when it started" in found.why


@pytest.mark.parametrize(
    "log",
    ["", LOST, REFUSED + LOST, REFUSED + FOUND, REFUSED.replace("pod-1", "pod-9")],
)
def test_a_router_that_knows_no_engine_for_a_reason_that_nobody_knows_is_told_as_that(
    serve: Serve, log: str
):
    session: Any = behind(serve(NOBODY), serve(key="key-4"), log=log)
    found = why(session)
    assert isinstance(found, LonelyError)
    assert found.what == "the router knows no engine"
    assert "may not look at pods, or does not reach them" in found.why
    assert found.next_command == f"vllm-flows router-logs   (says which; of a key: {HELPS})"
    assert stray(session, ["qwen"]).pods == ()  # type: ignore[union-attr]  # there is one


@pytest.mark.parametrize("told", [401, 404, 429, 500, 502, 503, "garbage"])
def test_a_router_that_cannot_tell_what_it_lists_is_not_judged(serve: Serve, told: int | str):
    answer = (200, b"<html>") if told == "garbage" else (told, b"no")
    assert why(behind(serve(NOBODY | {LIST: answer}), serve(key="key-4"))) is None


def test_the_log_is_read_in_json_too_and_the_last_of_an_engine_counts():
    hosts = ["ip-of-pod-1"]
    assert was_refused(json.dumps({"message": REFUSED, "lineno": 622}), hosts)
    assert was_refused(FOUND + LOST + REFUSED, hosts)
    assert not was_refused(REFUSED + FOUND, hosts)
    assert was_refused(REFUSED.replace("ip-of-pod-1", "fd00::1"), ["fd00::1"])


def test_a_router_that_knows_no_engine_is_given_all_patience(serve: Serve):
    session = behind(serve(NOBODY), serve(key="key-4"), log=LOST)
    error = failed(session)
    assert isinstance(error, LonelyError)
    assert session.clock.time >= 120
    assert session.looked[:3] == [30, 40, 50]


def test_a_router_whose_engines_are_gone_is_not_blamed_for_before(serve: Serve):
    session: Any = behind(serve(NOBODY), serve(key="key-4"), log=LOST)
    with ModelsApi.at(session.router.address, KEY.value) as api:
        proof = Proof(api, session, qwen())
        with pytest.raises(NotYetError):
            proof.ask()
        assert isinstance(proof.out_of_time("not listed yet"), LonelyError)
        session.replicas = {}
        assert isinstance(proof.out_of_time("no replica is ready"), TimedOutError)


def test_a_router_is_given_time_to_meet_the_replicas_and_is_named_before_all_patience_ends(
    serve: Serve,
):
    session = behind(serve(NOBODY), serve(key="key-4"))
    assert isinstance(failed(session), RouterError)
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
    assert isinstance(why(session), RouterError)


def test_somebody_before_the_engines_that_refuses_tells_nothing_of_a_router_s_key(serve: Serve):
    denied = {LIST: (403, b"RBAC: access denied")}
    session = behind(serve(listing("other")), serve(key="key-4"), others={"pod-2": serve(denied)})
    assert why(session) is None


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
    assert isinstance(failed(session), RouterError)


def test_a_router_from_before_a_key_that_became_ready_a_moment_ago_is_not_judged(serve: Serve):
    session = behind(serve(NOBODY), serve(key="key-4"))
    session.mark = "of-key-4b"
    session.ready_since = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert why(session) is None


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
    with pytest.raises(RouterError), explaining_unknown(session):
        raise NotYetError("not listed yet", model="qwen")
    with pytest.raises(NotYetError), explaining_unknown(session):
        raise NotYetError("not listed yet")
