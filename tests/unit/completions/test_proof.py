"""A model proven: through the router, at each replica, with patience where it helps."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from vllm_flows.completions import ModelsApi
from vllm_flows.errors import (
    NO_ANSWER,
    TimedOutError,
)
from vllm_flows.proof import prove_model
from vllm_flows.replicas import ready_replicas

if TYPE_CHECKING:
    from conftest import Serve
from tests.unit.completions.proving import (
    CHAT,
    COMPLETION,
    EMPTY,
    LIST,
    NO_TEMPLATE,
    SOON,
    FakeSession,
    failure,
    prove,
    qwen,
)


def test_one_replica_is_proven_by_what_comes_through_the_router(serve: Serve):
    router = serve()
    answer = prove(FakeSession(router))
    assert router.paths == [LIST, COMPLETION, CHAT]
    assert (answer.text, answer.replicas, answer.notes) == (" Paris", 1, ())
    assert answer.seconds > 0
    assert answer.first_token_seconds


def test_an_old_pod_that_ends_does_not_answer_for_its_successor(serve: Serve):
    new = serve({COMPLETION: EMPTY})
    error = failure(FakeSession(serve(), {"new": new}, ending=1))
    assert error.what == "replica new: the answer has no text"


def test_with_a_key_the_model_is_asked_without_it_too(serve: Serve):
    router = serve(key="secret")
    prove(FakeSession(router), "secret")
    assert [(each["path"], each["key"]) for each in router.asked] == [
        (LIST, "Bearer secret"),
        (COMPLETION, None),
        (COMPLETION, "Bearer secret"),
        (CHAT, "Bearer secret"),
    ]


def test_a_key_that_nobody_asks_for_is_a_failure(serve: Serve):
    error = failure(FakeSession(serve()), "secret")
    assert error.what == "answers without the API key"
    assert error.next_command == "kubectl -n ns logs deployment/vllm-qwen-deployment-vllm"


def test_each_of_several_replicas_is_asked_everything(serve: Serve):
    replicas = {"pod-1": serve(key="secret"), "pod-2": serve(key="secret")}
    answer = prove(FakeSession(serve(key="secret"), replicas), "secret", replicaCount=2)
    assert answer.replicas == 2
    for api in replicas.values():
        assert api.paths == [LIST, COMPLETION, COMPLETION, CHAT]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({COMPLETION: EMPTY}, "the answer has no text"),
        ({CHAT: b"data: rubbish\n\n"}, "the stream holds an event that is no chunk"),
        ({LIST: {"data": [{"id": "llama"}]}}, "the engine serves another name"),
        ({COMPLETION: (404, b"no")}, "the request was refused"),
    ],
)
def test_one_rotten_replica_cannot_hide_behind_the_router(
    serve: Serve, told: dict[str, Any], said: str
):
    session = FakeSession(serve(), {"pod-1": serve(), "pod-2": serve(told)})
    error = failure(session, replicaCount=2)
    assert error.what == f"replica pod-2: {said}"
    assert error.next_command == "kubectl -n ns logs pod-2"
    assert error.model == "qwen"
    assert session.clock.time == 0


def test_a_replica_that_does_not_want_the_key_is_found(serve: Serve):
    replicas = {"pod-1": serve(key="secret"), "pod-2": serve()}
    error = failure(FakeSession(serve(key="secret"), replicas), "secret", replicaCount=2)
    assert error.what == "replica pod-2: answers without the API key"


@pytest.mark.parametrize("told", [{COMPLETION: EMPTY}, {COMPLETION: b"<html>"}, {CHAT: b""}])
def test_a_wrong_answer_fails_at_once(serve: Serve, told: dict[str, Any]):
    session = FakeSession(serve(told))
    failure(session)
    assert session.clock.time == 0


def test_a_router_that_has_not_met_the_model_is_given_two_minutes(serve: Serve):
    session = FakeSession(serve({LIST: {"data": []}}), {"pod-1": serve()})
    with pytest.raises(TimedOutError, match="no completion came through the router") as caught:
        prove(session)
    assert session.clock.time == 120
    assert "/v1/models lists nothing" in caught.value.why
    assert caught.value.next_command == "kubectl -n ns logs deployment/vllm-deployment-router"


@pytest.mark.parametrize(
    ("own", "away", "category"), [("", 0, ""), ("no", 0, NO_ANSWER), ("no", 60, "")]
)
def test_only_an_engine_that_is_asked_itself_can_be_one_that_gives_no_answer(
    serve: Serve, own: str, away: float, category: str
):
    told = {COMPLETION: (503, b"no")}
    session = FakeSession(serve(told), {"pod-1": serve(told if own else {})})
    session.away = [0.0, *[away] * 200]
    with pytest.raises(TimedOutError) as caught:
        prove(session)
    assert caught.value.category == category


def test_while_the_router_is_silent_about_a_model_a_rotten_replica_is_found(serve: Serve):
    rotten = serve({LIST: {"data": [{"id": "a/b"}]}})
    session = FakeSession(serve({LIST: {"data": []}}), {"pod-1": rotten})
    error = failure(session)
    assert error.what == "replica pod-1: the engine serves another name"
    assert session.clock.time == 0


def test_a_replica_that_was_proven_is_not_asked_again_while_the_router_is_waited_for(serve: Serve):
    replica = serve()
    with pytest.raises(TimedOutError):
        prove(FakeSession(serve({COMPLETION: (503, b"no")}), {"pod-1": replica}))
    assert replica.paths == [LIST, COMPLETION, CHAT]


def test_an_answer_that_always_breaks_off_is_a_failure_after_a_few_tries(serve: Serve):
    broken = ("cut", b"{")
    session = FakeSession(serve({COMPLETION: broken}), {"pod-1": serve()})
    error = failure(session)
    assert error.what == "the answer broke off"
    assert not error.retryable
    assert session.clock.time < 5


def test_silence_of_the_model_fails_at_once(serve: Serve):
    session = FakeSession(serve({COMPLETION: ("held", b"")}), byte=SOON)
    assert "no byte for" in failure(session).what
    assert session.clock.time == 0


def test_silence_while_the_kubernetes_api_is_away_is_waited_out(serve: Serve):
    router = serve({COMPLETION: ("held", b"")})
    session = FakeSession(router, away=[30.0], byte=SOON)
    good = serve().replies[COMPLETION]
    sleep = session.clock.sleep

    def back(seconds: float) -> None:
        router.replies[COMPLETION] = good
        sleep(seconds)

    session.clock.sleep = back  # type: ignore[method-assign]  # the outage ends meanwhile
    assert prove(session).text == " Paris"
    assert session.clock.time >= 30


def test_a_model_without_a_chat_template_streams_a_completion_and_that_is_noted(serve: Serve):
    router = serve({CHAT: NO_TEMPLATE})
    answer = prove(FakeSession(router))
    assert router.paths == [LIST, COMPLETION, CHAT, COMPLETION]
    assert answer.first_token_seconds
    (note,) = answer.notes
    assert "no chat template" in note


def test_a_model_that_must_chat_is_not_excused(serve: Serve):
    session = FakeSession(serve({CHAT: NO_TEMPLATE}))
    assert failure(session, smokeTest={"chat": True}).what == "has no chat template"


def test_a_base_model_is_not_asked_to_chat(serve: Serve):
    router = serve()
    prove(FakeSession(router), smokeTest={"chat": False})
    assert router.paths == [LIST, COMPLETION, COMPLETION]


def test_what_is_asked_and_expected_is_the_models_own(serve: Serve):
    router = serve()
    prove(FakeSession(router), smokeTest={"prompt": "Capital?", "expect": "Paris"})
    assert router.asked[1]["prompt"] == "Capital?"
    assert router.asked[2]["messages"][0]["content"] == "Capital?"
    error = failure(FakeSession(router), smokeTest={"expect": "Rome"})
    assert "smokeTest.expect" in error.what


def test_several_models_can_share_one_api(serve: Serve):
    with ExitStack() as stack:
        session = FakeSession(serve())
        api = stack.enter_context(ModelsApi.at(session.router.address, None))
        for _ in range(2):
            prove_model(api, session, qwen(), say=lambda _: None)  # type: ignore[arg-type]  # a stand-in


def test_ready_pods_that_stay_are_the_replicas():
    def pod(name: str, ready: str, **metadata: str) -> dict[str, Any]:
        status = {"podIP": "fd00::1", "conditions": [{"type": "Ready", "status": ready}]}
        return {"metadata": {"name": name, **metadata}, "status": status}

    going = pod("going", "True", deletionTimestamp="2026-01-02T03:04:05Z")
    new = {"metadata": {"name": "new"}, "status": {}}
    marked: Any = {"vllm-flows.io/api-key-digest": "a-mark"}
    good = pod("good", "True", annotations=marked)
    (found,) = ready_replicas([good, pod("loading", "False"), going, new])
    assert (found.pod, found.host, found.key_mark) == ("good", "[fd00::1]", "a-mark")


def mend(session: FakeSession, after: int) -> None:
    """Let the router's completion be good once somebody slept so many times."""
    sleep, router = session.clock.sleep, session.router

    def mending(seconds: float) -> None:
        sleep(seconds)
        if len(session.clock.slept) >= after:
            router.replies[COMPLETION] = {"model": "qwen", "choices": [{"text": " Paris"}]}

    session.clock.sleep = mending  # type: ignore[method-assign]  # time mends it


def test_an_answer_may_break_off_twice(serve: Serve):
    session = FakeSession(serve({COMPLETION: ("cut", b"{")}), {"pod-1": serve()})
    mend(session, after=2)
    assert prove(session).text == " Paris"


def test_silence_counts_as_the_apis_where_the_api_is_slow_and_answers(serve: Serve):
    router = serve({COMPLETION: ("held", b"")})
    session = FakeSession(router, {"pod-1": serve()}, slow=[6.0], byte=SOON)
    mend(session, after=1)
    assert prove(session).text == " Paris"


def test_a_model_is_not_failed_by_an_api_server_that_is_away_for_two_minutes_and_a_half(
    serve: Serve,
):
    router = serve({COMPLETION: (503, b"the way to the model is broken")})
    session = FakeSession(router, {"pod-1": serve()}, slow=[150.0])
    mend(session, after=1)
    assert prove(session).text == " Paris"


def test_without_a_ready_replica_several_are_not_proven(serve: Serve):
    with pytest.raises(TimedOutError) as caught:
        prove(FakeSession(serve()), replicaCount=2)
    assert "no replica is ready" in caught.value.why
