"""One address asked over HTTP: what counts as an answer, what as wrong, what as not yet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from vllm_flows.completions import (
    Answer,
    BrokenOffError,
    Limits,
    ModelsApi,
    NoChatTemplateError,
    NotYetError,
    SilentError,
)
from vllm_flows.errors import CompletionError
from vllm_flows.models import Model, answers_prompts

if TYPE_CHECKING:
    from conftest import Serve

LIST, COMPLETION, CHAT = "/v1/models", "/v1/completions", "/v1/chat/completions"
NO_TEMPLATE = {
    "error": {
        "message": "As of transformers v4.44, default chat template is no longer allowed, so you "
        "must provide a chat template if the tokenizer does not define one.",
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    }
}


def complete(address: str, api_key: str | None = None, expected: str | None = None) -> Answer:
    with ModelsApi.at(address, api_key) as api:
        return api.complete("qwen", "The capital of France is", expected)


def stream(address: str, *, chat: bool = True) -> float:
    with ModelsApi.at(address, None) as api:
        return api.first_token_seconds("qwen", "Hello", chat=chat)


def events(*chunks: Any) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in chunks)


def chunk(text: str | None, model: str = "qwen") -> dict[str, Any]:
    return {"model": model, "choices": [{"delta": {"content": text}}]}


DONE = b"data: [DONE]\n\n"


def test_a_completion_is_asked_for_by_name_with_the_key(serve: Serve):
    api = serve(key="secret")
    answer = complete(api.address, "secret")
    assert (answer.model, answer.text) == ("qwen", " Paris")
    (asked,) = api.asked
    assert (asked["path"], asked["model"], asked["key"]) == (COMPLETION, "qwen", "Bearer secret")
    assert asked["prompt"] == "The capital of France is"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"model": "other", "choices": [{"text": "x"}]}, "'other' answered instead"),
        ({"model": "qwen", "choices": [{"text": "  "}]}, "no text"),
        ({"model": "qwen", "choices": [{"text": None}]}, "no completion"),
        ({"model": "qwen", "choices": []}, "no completion"),
        ({"choices": [{"text": "x"}]}, "no completion"),
        (b"<html>", "no completion"),
        (b"\xff\x00", "no completion"),
        (b"[" * 100_000, "no completion"),
        ([], "no completion"),
    ],
)
def test_a_wrong_answer_is_no_proof(serve: Serve, body: Any, said: str):
    with pytest.raises(CompletionError, match=said) as caught:
        complete(serve({COMPLETION: body}).address)
    assert not caught.value.retryable


def test_the_expected_text_must_be_in_the_completion(serve: Serve):
    api = serve()
    assert complete(api.address, expected="Paris").text == " Paris"
    with pytest.raises(CompletionError, match=r"smokeTest\.expect") as caught:
        complete(api.address, expected="Rome")
    assert "'Rome' is not in ' Paris'" in caught.value.why


@pytest.mark.parametrize("status", [404, 503, 500, 429])
def test_a_router_that_does_not_know_the_model_yet_is_asked_again(serve: Serve, status: int):
    with pytest.raises(NotYetError):
        complete(serve({COMPLETION: (status, b"no")}).address)


def test_what_an_engine_itself_does_not_know_it_never_will(serve: Serve):
    address = serve({COMPLETION: (404, b"no"), LIST: {"data": [{"id": "other"}]}}).address
    with ModelsApi.at(address, None, direct=True) as api:
        with pytest.raises(CompletionError, match="serves another name") as caught:
            api.check_listed("qwen")
        assert not caught.value.retryable
        with pytest.raises(CompletionError, match="was refused") as caught:
            api.complete("qwen", "Hello")
        assert not caught.value.retryable


def test_a_model_that_the_router_does_not_list_may_be_listed_later(serve: Serve):
    with ModelsApi.at(serve().address, None) as api:
        api.check_listed("qwen")
        with pytest.raises(NotYetError, match="lists qwen"):
            api.check_listed("llama")


@pytest.mark.parametrize("body", [b"<html>", {}, [], {"data": 1}, {"data": ["qwen"]}])
def test_what_is_no_list_of_models_is_wrong(serve: Serve, body: Any):
    with (
        ModelsApi.at(serve({LIST: body}).address, None) as api,
        pytest.raises(CompletionError, match="the list of models is none") as caught,
    ):
        api.check_listed("qwen")
    assert not caught.value.retryable


def test_a_refused_key_is_said_with_the_command_that_brings_it(serve: Serve):
    with pytest.raises(CompletionError) as caught:
        complete(serve(key="right").address, "wrong-key")
    assert caught.value.next_command.startswith("vllm-flows install")
    assert "wrong-key" not in str(caught.value)


def test_a_key_that_is_wanted_is_not_sent_when_that_is_tried(serve: Serve):
    api = serve(key="secret")
    with ModelsApi.at(api.address, "secret") as found:
        found.check_key_is_wanted("qwen", "Hello")
    assert [each["key"] for each in api.asked] == [None]


def test_an_answer_without_the_key_is_wrong(serve: Serve):
    with (
        ModelsApi.at(serve().address, "secret") as api,
        pytest.raises(CompletionError, match="answers without the API key") as caught,
    ):
        api.check_key_is_wanted("qwen", "Hello")
    assert not caught.value.retryable


def test_a_router_without_the_engine_proves_nothing_of_the_key(serve: Serve):
    with (
        ModelsApi.at(serve({COMPLETION: (503, b"no")}).address, "secret") as api,
        pytest.raises(NotYetError),
    ):
        api.check_key_is_wanted("qwen", "Hello")


@pytest.mark.parametrize("told", [(400, b"bad secret-key"), b"secret-key"])
def test_a_key_that_the_server_echoes_is_not_shown(serve: Serve, told: object):
    with pytest.raises(CompletionError) as caught:
        complete(serve({COMPLETION: told}).address, "secret-key")
    assert "***" in str(caught.value)
    assert "secret-key" not in str(caught.value)


def test_what_an_answer_holds_cannot_steer_the_terminal(serve: Serve):
    with pytest.raises(CompletionError) as caught:
        complete(serve({COMPLETION: {"model": "\x1b[2J", "choices": [{"text": "x"}]}}).address)
    assert "\x1b" not in str(caught.value)


def test_nobody_listening_is_worth_another_try():
    with pytest.raises(NotYetError):
        complete("http://127.0.0.1:1")


def test_an_answer_that_breaks_off_is_worth_another_try(serve: Serve):
    with pytest.raises(BrokenOffError):
        complete(serve({COMPLETION: ("cut", b'{"model"')}).address)


def test_silence_is_no_answer(serve: Serve):
    address = serve({COMPLETION: ("held", b""), CHAT: ("held", b"")}).address
    with ModelsApi.at(address, None, limits=Limits(5, 0.05, 5)) as api:
        with pytest.raises(SilentError, match=r"no byte for 0\.05 s") as caught:
            api.complete("qwen", "Hello")
        assert not caught.value.retryable
        with pytest.raises(SilentError):
            api.first_token_seconds("qwen", "Hello", chat=True)


def test_a_stream_that_falls_silent_is_no_answer(serve: Serve):
    address = serve({CHAT: ("stalled", events(chunk("Pa")))}).address
    with (
        ModelsApi.at(address, None, limits=Limits(5, 0.05, 5)) as api,
        pytest.raises(SilentError),
    ):
        api.first_token_seconds("qwen", "Hello", chat=True)


def test_an_answer_that_takes_too_long_or_is_too_long_is_none(serve: Serve):
    with (
        ModelsApi.at(serve().address, None, limits=Limits(5, 5, 0)) as api,
        pytest.raises(CompletionError, match="no whole answer within"),
    ):
        api.complete("qwen", "Hello")
    with pytest.raises(CompletionError, match="has no end"):
        complete(serve({COMPLETION: b" " * 5_000_000}).address)


def test_the_first_token_is_timed_from_a_streamed_chat(serve: Serve):
    api = serve()
    assert stream(api.address) > 0
    (asked,) = api.asked
    assert (asked["path"], asked["stream"]) == (CHAT, True)
    assert asked["messages"] == [{"role": "user", "content": "Hello"}]


def test_a_completion_can_be_streamed_where_there_are_no_chats(serve: Serve):
    api = serve()
    assert stream(api.address, chat=False) > 0
    assert (api.asked[0]["path"], api.asked[0]["stream"]) == (COMPLETION, True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (events(chunk("x", "other")) + DONE, "'other' answered instead"),
        (events(chunk("")) + DONE, "no text"),
        (DONE, "no text"),
        (events(chunk("Paris")), r"ended without \[DONE\]"),
        (b"", r"ended without \[DONE\]"),
        (b"<html>busy</html>", r"ended without \[DONE\]"),
        (b"data: <html>\n\n", "no chunk"),
        (events({"model": "qwen", "choices": ["x"]}), "no chunk"),
        (events({"model": "qwen"}), "no chunk"),
        (events(["x"]), "no chunk"),
        (events(chunk("Pa"), {"error": {"message": "EngineDead"}}) + DONE, "reports an error"),
        (events({"object": "error", "message": "EngineDead"}), "reports an error"),
    ],
)
def test_a_wrong_stream_is_no_proof(serve: Serve, body: bytes, said: str):
    with pytest.raises(CompletionError, match=said) as caught:
        stream(serve({CHAT: body}).address)
    assert not caught.value.retryable


def test_a_stream_that_breaks_off_is_worth_another_try(serve: Serve):
    with pytest.raises(BrokenOffError):
        stream(serve({CHAT: ("cut", events(chunk("Pa")))}).address)


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_what_a_model_thinks_is_text_too(serve: Serve, name: str):
    thought = {"model": "qwen", "choices": [{"delta": {name: "Hm", "content": None}}]}
    assert stream(serve({CHAT: events(thought) + DONE}).address) > 0


def test_comments_and_line_ends_of_the_web_are_part_of_a_stream(serve: Serve):
    body = b": ping\r\nevent: x\r\ndata:" + json.dumps(chunk("Hi")).encode() + b"\r\n\r\n"
    assert stream(serve({CHAT: body + b"data: [DONE]"}).address) > 0


@pytest.mark.parametrize("status", [400, 500])
def test_a_model_without_a_chat_template_is_told_apart(serve: Serve, status: int):
    with pytest.raises(NoChatTemplateError):
        stream(serve({CHAT: (status, NO_TEMPLATE)}).address)


def test_only_a_right_answer_or_the_wish_for_another_key_is_a_sign_of_life(serve: Serve):
    api = serve(key="secret")
    with ModelsApi.at(api.address, "secret") as found:
        assert found.alive("qwen")
        assert not found.alive("llama")
    assert api.asked[0]["max_tokens"] == 1
    with ModelsApi.at(api.address, None) as found:
        assert found.alive("qwen")
    with ModelsApi.at("http://127.0.0.1:1", None) as found:
        assert not found.alive("qwen")
    for told in (b"rubbish", {"model": "qwen", "choices": [{"text": ""}]}, (503, b"")):
        with ModelsApi.at(serve({COMPLETION: told}).address, None) as found:
            assert not found.alive("qwen")


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, True),
        ({"replicaCount": 0}, False),
        ({"vllmConfig": {"runner": "pooling"}}, False),
        ({"vllmConfig": {"convert": "embed"}}, False),
    ],
)
def test_only_models_that_write_and_have_a_replica_are_asked(
    fields: dict[str, object],
    asked: bool,  # noqa: FBT001 -- a parameter of the test
):
    model = Model.model_validate({"name": "qwen", "modelURL": "a/b", **fields})
    assert answers_prompts(model) is asked
