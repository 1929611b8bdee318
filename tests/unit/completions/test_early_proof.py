"""Replicas asked by themselves as soon as they are ready, before others are replaced for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.completions.proving import (
    CHAT,
    COMPLETION,
    EMPTY,
    LIST,
    SOON,
    FakeSession,
    qwen,
)
from vllm_flows.completions import SilentError
from vllm_flows.errors import CompletionError
from vllm_flows.proof import EarlyProof

if TYPE_CHECKING:
    from conftest import Serve


def ready_pod(name: str, **metadata: str) -> dict[str, Any]:
    status = {"podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": {"name": name, **metadata}, "status": status}


def early(session: FakeSession) -> EarlyProof:
    return EarlyProof(session, qwen(replicaCount=2))  # type: ignore[arg-type]  # a stand-in


def test_a_new_replica_that_answers_rubbish_is_found_before_the_next_is_replaced(serve: Serve):
    proof = early(FakeSession(serve(), {"new": serve({COMPLETION: EMPTY}), "old": serve()}))
    with pytest.raises(CompletionError, match="replica new: the answer has no text"):
        proof.ask([ready_pod("new")])


def test_a_replica_is_asked_once_when_it_is_ready_and_not_before(serve: Serve):
    one = serve()
    proof = early(FakeSession(serve(), {"new": one}))
    loading = ready_pod("loading")
    loading["status"]["conditions"][0]["status"] = "False"
    proof.ask([loading])
    assert one.paths == []
    for _ in range(2):
        proof.ask([ready_pod("new"), loading])
    assert one.paths == [LIST, COMPLETION, CHAT]


@pytest.mark.parametrize("told", [{COMPLETION: (503, b"wait")}, {COMPLETION: ("cut", b"{")}])
def test_an_answer_that_does_not_come_is_left_to_the_proof_of_the_whole(
    serve: Serve, told: dict[str, Any]
):
    early(FakeSession(serve(), {"new": serve(told)})).ask([ready_pod("new")])


def patient(session: FakeSession) -> EarlyProof:
    return EarlyProof(session, qwen(), patient=True)  # type: ignore[arg-type]  # a stand-in


def test_beside_older_replicas_who_does_not_answer_is_asked_again(serve: Serve):
    engine = serve({COMPLETION: (503, b"wait")})
    proof = patient(FakeSession(serve(), {"new": engine}))
    assert not proof.ask([ready_pod("new")])
    assert not proof.ask([ready_pod("new")])
    assert engine.paths == [LIST, COMPLETION] * 2
    assert early(FakeSession(serve(), {"new": engine})).ask([ready_pod("new")])


def test_beside_older_replicas_silence_is_a_wrong_answer_where_it_is_the_models(serve: Serve):
    engine = {"new": serve({COMPLETION: ("held", b"")})}
    with pytest.raises(SilentError):
        patient(FakeSession(serve(), engine, byte=SOON)).ask([ready_pod("new")])
    cut_off = FakeSession(serve(), engine, byte=SOON)
    cut_off.open_way = False
    assert not patient(cut_off).ask([ready_pod("new")])
