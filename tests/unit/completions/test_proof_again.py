"""Models that were proven as they are asked once more, and keys that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vllm_flows.completions import Answer, KeyRefusedError, ModelsApi
from vllm_flows.credentials import Credential
from vllm_flows.errors import (
    CompletionError,
    RouterError,
)
from vllm_flows.proof import ask_again
from vllm_flows.refused_key import OtherKeyError

if TYPE_CHECKING:
    from conftest import Serve
from tests.unit.completions.proving import (
    COMPLETION,
    EMPTY,
    LIST,
    FakeSession,
    failure,
    prove,
    qwen,
)


def again(session: FakeSession, **fields: object) -> Answer:
    with ModelsApi.at(session.router.address, None) as api:
        return ask_again(api, session, qwen(**fields))  # type: ignore[arg-type]  # a stand-in


def test_a_model_that_is_as_it_was_is_asked_one_short_completion(serve: Serve):
    router = serve()
    assert again(FakeSession(router)).text == " Paris"
    assert [(each["path"], each["max_tokens"]) for each in router.asked] == [(COMPLETION, 4)]


def test_what_is_expected_of_a_model_is_expected_each_time(serve: Serve):
    router = serve()
    again(FakeSession(router), smokeTest={"prompt": "Capital?", "expect": "Paris"})
    assert (router.asked[0]["prompt"], router.asked[0]["max_tokens"]) == ("Capital?", 16)
    with pytest.raises(CompletionError, match=r"smokeTest\.expect"):
        again(FakeSession(router), smokeTest={"expect": "Rome"})


def test_a_short_completion_that_is_wrong_says_where_to_look(serve: Serve):
    with pytest.raises(CompletionError) as caught:
        again(FakeSession(serve({COMPLETION: EMPTY})))
    assert caught.value.next_command == "kubectl -n ns logs deployment/vllm-qwen-deployment-vllm"


def test_a_command_that_helps_is_not_replaced_by_the_log(serve: Serve):
    error = failure(FakeSession(serve(key="secret")))
    assert error.next_command == "vllm-flows set-api-key, then vllm-flows install"


def refusing(serve: Serve, **marks: str) -> FakeSession:
    """Return a model of which one replica of two, `bad`, and so the router, refuse the key."""
    replicas = {"good": serve(key="key-4"), "bad": serve(key="key-5")}
    same = dict.fromkeys(["good", "bad", "router-1"], "of-key-4")
    return FakeSession(serve(key="key-5"), replicas, marks=same | marks)


def test_a_replica_that_holds_another_key_than_its_mark_is_to_be_replaced(serve: Serve):
    error = failure(refusing(serve), "key-4", replicaCount=2)
    assert error.what == "replica bad: the API key was refused"
    assert error.next_command == "kubectl -n ns delete pod bad"
    assert "read another when it started" in error.why
    assert isinstance(error, OtherKeyError)


def test_the_only_replica_is_found_by_what_the_router_says(serve: Serve):
    session = refusing(serve)
    del session.replicas["good"]
    assert failure(session, "key-4").next_command == "kubectl -n ns delete pod bad"


def test_a_replica_whose_mark_is_of_another_key_waits_for_an_install(serve: Serve):
    error = failure(refusing(serve, bad="of-key-5"), "key-4", replicaCount=2)
    assert error.next_command == "vllm-flows install"
    assert not isinstance(error, OtherKeyError)


@pytest.mark.parametrize(
    ("mark", "helps"),
    [("of-key-4", "kubectl -n ns delete pod router-1"), ("of-key-5", "vllm-flows install")],
)
def test_where_all_replicas_take_the_key_it_is_the_router_that_does_not(
    serve: Serve, mark: str, helps: str
):
    session = refusing(serve, **{"router-1": mark})
    del session.replicas["bad"]
    with pytest.raises(RouterError) as caught:
        prove(session, "key-4")
    assert caught.value.next_command == helps


def test_a_key_of_the_environment_that_nobody_knows_blames_no_pod(serve: Serve):
    session = refusing(serve)
    session.mark, session.given = None, Credential("key-6", "VLLM_API_KEY", stored=False)
    error = failure(session, "key-6", replicaCount=2)
    assert error.next_command.startswith("vllm-flows set-api-key")
    assert "VLLM_API_KEY is another key than the one that is stored" in error.why


def test_who_answers_at_an_address_of_ones_own_is_no_router_of_the_cluster(serve: Serve):
    session = refusing(serve)
    del session.replicas["bad"]
    session.settings.router_url = "http://gateway"
    with pytest.raises(RouterError) as caught:
        prove(session, "key-4")
    assert caught.value.next_command.startswith("vllm-flows install   (")


def test_who_stands_before_a_replica_and_forbids_says_nothing_of_its_key(serve: Serve):
    session = refusing(serve)
    session.replicas = {"bad": serve(dict.fromkeys([LIST, COMPLETION], (403, b"RBAC: denied")))}
    error = failure(session, "key-4")
    assert isinstance(error, KeyRefusedError)
    assert not isinstance(error, OtherKeyError)
    assert "delete pod" not in error.next_command


def test_a_short_completion_that_is_refused_says_how_the_replica_is_found(serve: Serve):
    with (
        pytest.raises(OtherKeyError) as caught,
        ModelsApi.at((session := refusing(serve)).router.address, "key-4") as api,
    ):
        ask_again(api, session, qwen())  # type: ignore[arg-type]  # a stand-in
    assert caught.value.next_command.startswith("vllm-flows check qwen --repair")
