"""Whose fault it is when nobody answers: the router's, an address's, or the model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from vllm_flows.completions import Limits
from vllm_flows.errors import (
    RouterError,
    TimedOutError,
    VllmFlowsError,
)

if TYPE_CHECKING:
    from conftest import Serve
from tests.unit.completions.proving import COMPLETION, LIST, SOON, FakeSession, prove

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
    monkeypatch.setattr("vllm_flows.completions._ALIVE", Limits(5, SOON, SOON))
    session = FakeSession(serve({LIST: ("held", b"")}), {"pod-1": serve()}, byte=SOON)
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
