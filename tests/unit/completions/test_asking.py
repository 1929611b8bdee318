from __future__ import annotations

from itertools import count

import pytest

from tests.unit.completions.conftest import Serve
from vllm_flows.asking import Asked, ask, insist_on
from vllm_flows.completions import ModelsApi, NoChatTemplateError
from vllm_flows.errors import CompletionError

CHAT, LIST = "/v1/chat/completions", "/v1/models"
TEMPLATE = b'{"message": "default chat template is no longer allowed"}'


def asked(address: str, *, chat: bool = True) -> tuple[Asked, list[str]]:
    shown: list[str] = []
    ticks = count()
    with ModelsApi.at(address, None) as api:
        answer = ask(
            api,
            "qwen",
            "Hello",
            chat=chat,
            tokens=9,
            show=shown.append,
            now=lambda: float(next(ticks)),
        )
    return answer, shown


def events(*documents: str) -> bytes:
    return b"".join(b"data: %s\n\n" % one.encode() for one in (*documents, "[DONE]"))


def test_an_answer_is_shown_as_it_comes_and_measured(serve: Serve):
    body = events(
        '{"model": "qwen", "choices": [{"delta": {"content": "Pa"}}]}',
        '{"model": "qwen", "choices": [{"delta": {"content": "ris"}, "finish_reason": "length"}]}',
        '{"model": "qwen", "choices": [], "usage": {"completion_tokens": 5}}',
    )
    api = serve({CHAT: body})
    answer, shown = asked(api.address)
    assert shown == ["Pa", "ris"]
    assert answer.data == {
        "model": "qwen",
        "kind": "chat",
        "prompt": "Hello",
        "text": "Paris",
        "firstTokenSeconds": 1.0,
        "seconds": 2.0,
        "tokens": 5,
        "tokensPerSecond": 4.0,
        "cutAtMaxTokens": True,
    }
    (request,) = api.asked
    assert (request["max_tokens"], request["stream_options"]) == (9, {"include_usage": True})


def test_where_the_server_counts_no_tokens_the_pieces_are_counted(serve: Serve):
    answer, _ = asked(serve().address, chat=False)
    assert (answer.kind, answer.text, answer.tokens) == ("completion", " Paris", 1)
    assert answer.tokens_per_second is None
    assert not answer.cut


@pytest.mark.parametrize("usage", ['"many"', "[3]", '{"completion_tokens": "x"}', "null"])
def test_a_count_that_is_none_is_not_believed(serve: Serve, usage: str):
    document = f'{{"model": "qwen", "choices": [{{"text": "x"}}], "usage": {usage}}}'
    answer, _ = asked(serve({"stream": events(document)}).address, chat=False)
    assert answer.tokens == 1


@pytest.mark.parametrize(
    ("told", "next_command"),
    [
        ((404, b"no"), "vllm-flows wait qwen"),
        ((401, b"no"), "vllm-flows set-api-key"),
        ((400, TEMPLATE), "vllm-flows test-completions qwen --no-chat"),
        (b"<html>", "vllm-flows logs qwen"),
        (events('{"model": "other", "choices": []}'), "vllm-flows logs qwen"),
    ],
)
def test_what_is_no_answer_comes_with_the_next_command(
    serve: Serve, told: object, next_command: str
):
    with pytest.raises(CompletionError) as caught:
        asked(serve({CHAT: told}).address)
    assert caught.value.next_command.startswith(next_command)
    assert caught.value.exit_code == 1


def test_a_model_without_chats_is_told_from_one_that_fails(serve: Serve):
    with pytest.raises(NoChatTemplateError):
        asked(serve({CHAT: (400, TEMPLATE)}).address)


def test_a_model_that_the_api_does_not_list_is_waited_for_first(serve: Serve):
    with ModelsApi.at(serve().address, None) as api:
        insist_on(api, "qwen")
        with pytest.raises(CompletionError) as caught:
            insist_on(api, "phi")
    assert caught.value.next_command.startswith("vllm-flows wait phi")


def test_the_list_of_models_says_what_they_were_made_from(serve: Serve):
    cards = [
        {"id": "qwen", "root": "Qwen/Qwen3-4B", "max_model_len": 40960},
        {"id": "old", "root": None, "max_model_len": "long"},
    ]
    with ModelsApi.at(serve({LIST: {"data": cards}}).address, None) as api:
        qwen, old = api.listed()
    assert (qwen.name, qwen.root, qwen.max_model_len) == ("qwen", "Qwen/Qwen3-4B", 40960)
    assert (old.name, old.root, old.max_model_len) == ("old", "", None)
