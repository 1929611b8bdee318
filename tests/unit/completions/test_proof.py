"""A model proven: through the router, at each replica, with patience where it helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import VirtualClock
from vllm_flows.completions import Answer, Limits, ModelsApi
from vllm_flows.errors import (
    NO_ANSWER,
    ClusterUnavailableError,
    CompletionError,
    RouterError,
    TimedOutError,
    VllmFlowsError,
)
from vllm_flows.models import Model
from vllm_flows.proof import ask_again, prove_model
from vllm_flows.refused_key import OtherKeyError
from vllm_flows.replicas import Replica, ready_replicas

if TYPE_CHECKING:
    from conftest import FakeApi, Serve

LIST, COMPLETION, CHAT = "/v1/models", "/v1/completions", "/v1/chat/completions"
EMPTY = {"model": "qwen", "choices": [{"text": ""}]}
_SOON = 0.3
"""Seconds without a byte that are silence here, and that a busy machine does not reach."""
NO_TEMPLATE = (400, b"... default chat template is no longer allowed, so you must ...")


@dataclass
class FakeSession:
    """Replicas by pod name; the API server may be away, or slow, when it is asked for them."""

    router: FakeApi
    replicas: dict[str, FakeApi] = field(default_factory=dict)
    clock: VirtualClock = field(default_factory=VirtualClock)
    settings: Any = field(
        default_factory=lambda: SimpleNamespace(namespace="ns", router_enabled=True, router_url="")
    )
    shared_api: bool = True
    away: list[float] = field(default_factory=list)
    """For each time that it is asked: how many seconds it takes to fail or, if 0, not to."""
    slow: list[float] = field(default_factory=list)
    """For each time that it is asked: how many seconds it takes to answer."""
    ending: int = 0
    """Pods of before that still answer."""
    byte: float = 5.0
    """Seconds of silence after which the model's API is given up."""
    marks: dict[str, str] = field(default_factory=dict)
    """By pod the mark of its key."""
    mark: str | None = "of-key-4"
    """The mark of the key that is stored; None when another was given."""
    open_way: bool = True
    """Whether the API server, through which questions go, answers."""

    def way_is_open(self) -> bool:
        return self.open_way

    def ready_replicas(self, model: str) -> list[Replica]:
        assert model == "qwen"
        self.clock.time += self.slow.pop(0) if self.slow else 0.0
        if self.away and (seconds := self.away.pop(0)):
            self.clock.sleep(seconds)
            raise ClusterUnavailableError("cannot list pods")
        return [Replica(pod, "", self.marks.get(pod, "")) for pod in self.replicas]

    def router_replicas(self) -> list[Replica]:
        return [Replica("router-1", "", self.marks["router-1"])] if self.marks else []

    def key_mark(self) -> str | None:
        return self.mark

    def api_key(self) -> None:
        """There is none."""

    def is_alone(self, model: str) -> bool:
        assert model == "qwen"
        return len(self.replicas) + self.ending <= 1

    @contextmanager
    def replica_api(self, replica: Replica, api_key: str | None) -> Iterator[ModelsApi]:
        address, limits = self.replicas[replica.pod].address, Limits(5.0, self.byte, self.byte)
        with ModelsApi.at(address, api_key, direct=True, limits=limits) as api:
            yield api


def qwen(**fields: object) -> Model:
    return Model.model_validate({"name": "qwen", "modelURL": "a/b", **fields})


def prove(session: FakeSession, key: str | None = None, **fields: object) -> Answer:
    limits = Limits(5, session.byte, 5)
    with ModelsApi.at(session.router.address, key, limits=limits) as api:
        return prove_model(api, session, qwen(**fields), say=lambda _: None)  # type: ignore[arg-type]  # a stand-in


def failure(session: FakeSession, key: str | None = None, **fields: object) -> CompletionError:
    with pytest.raises(CompletionError) as caught:
        prove(session, key, **fields)
    return caught.value


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
    session = FakeSession(serve({COMPLETION: ("held", b"")}), byte=_SOON)
    assert "no byte for" in failure(session).what
    assert session.clock.time == 0


def test_silence_while_the_kubernetes_api_is_away_is_waited_out(serve: Serve):
    router = serve({COMPLETION: ("held", b"")})
    session = FakeSession(router, away=[30.0], byte=_SOON)
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
    assert failure(session, "key-4").next_command == helps


def test_a_key_of_the_environment_that_nobody_knows_blames_no_pod(serve: Serve):
    session = refusing(serve)
    session.mark = None
    helps = failure(session, "key-6", replicaCount=2).next_command
    assert helps == "vllm-flows install   (and VLLM_API_KEY, where set, is to be right)"


def test_who_answers_at_an_address_of_ones_own_is_no_router_of_the_cluster(serve: Serve):
    session = refusing(serve)
    del session.replicas["bad"]
    session.settings.router_url = "http://gateway"
    assert failure(session, "key-4").next_command.startswith("vllm-flows install   (")


def test_a_short_completion_that_is_refused_says_how_the_replica_is_found(serve: Serve):
    with (
        pytest.raises(OtherKeyError) as caught,
        ModelsApi.at((session := refusing(serve)).router.address, "key-4") as api,
    ):
        ask_again(api, session, qwen())  # type: ignore[arg-type]  # a stand-in
    assert caught.value.next_command.startswith("vllm-flows check qwen --repair")


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
    session = FakeSession(router, {"pod-1": serve()}, slow=[6.0], byte=_SOON)
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


GONE = (503, b"nobody is behind this")


def unrouted(session: FakeSession) -> VllmFlowsError:
    with pytest.raises(VllmFlowsError) as caught:
        prove(session)
    return caught.value


@pytest.mark.parametrize("told", [{LIST: GONE}, {LIST: ("cut", b"{")}, {LIST: (404, b"no")}])
def test_a_router_that_lists_no_models_is_no_models_fault(serve: Serve, told: dict[str, Any]):
    error = unrouted(FakeSession(serve(told), {"pod-1": serve()}))
    assert isinstance(error, RouterError)
    assert (error.what, error.model) == ("the router does not answer", None)
    assert error.next_command == "kubectl -n ns describe deployment vllm-deployment-router"


def test_a_router_that_takes_the_question_and_is_silent_is_no_models_fault(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("vllm_flows.completions._ALIVE", Limits(5, _SOON, _SOON))
    session = FakeSession(serve({LIST: ("held", b"")}), {"pod-1": serve()}, byte=_SOON)
    assert isinstance(unrouted(session), RouterError)


def test_an_address_that_nobody_listens_at_is_named(serve: Serve):
    session = FakeSession(serve({LIST: GONE}), {"pod-1": serve()})
    session.settings.router_url = "http://me:secret@models.example"
    error = unrouted(session)
    assert error.what == "nobody answers at http://***@models.example (VLLM_ROUTER_URL)"
    assert "secret" not in str(error)


@pytest.mark.parametrize("told", [{COMPLETION: GONE}, {LIST: {"data": []}}])
def test_behind_a_router_that_answers_the_model_is_at_fault(serve: Serve, told: dict[str, Any]):
    assert isinstance(unrouted(FakeSession(serve(told), {"pod-1": serve()})), TimedOutError)


def test_an_engine_that_is_asked_itself_is_at_fault(serve: Serve):
    session = FakeSession(serve({LIST: GONE}), {"pod-1": serve()}, shared_api=False)
    session.settings.router_enabled = False
    assert isinstance(unrouted(session), TimedOutError)
