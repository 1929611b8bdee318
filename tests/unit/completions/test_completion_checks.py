"""Answers as bytes and lines: what a stream is however it is cut, and what is told of a bad one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vllm_flows.completion_checks import (
    Stream,
    check_text,
    completion_text,
    lacks_chat_template,
    split_lines,
)
from vllm_flows.errors import CompletionError


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: x\ndata: y\nend"],
        [b"da", b"ta: x\nda", b"ta: y\n", b"end"],
        [b"data: x", b"\n", b"data: y\ne", b"", b"nd"],
    ],
)
def test_lines_are_whole_however_the_network_cuts_them(chunks: list[bytes]):
    assert list(split_lines(chunks)) == [b"data: x", b"data: y", b"end"]


def test_a_line_is_there_before_the_next_piece_comes():
    def pieces() -> Iterator[bytes]:
        yield b"first\nsec"
        raise AssertionError("the first line was not awaited")

    assert next(split_lines(pieces())) == b"first"


def test_what_came_instead_of_a_stream_is_told_from_its_beginning():
    stream = Stream("qwen")
    for line in (b"", b"<html>busy", b"</html>"):
        stream.take(line)
    with pytest.raises(CompletionError, match=r"ended without \[DONE\]") as caught:
        stream.check_end()
    assert caught.value.why == "<html>busy"


@pytest.mark.parametrize(
    ("body", "lacks"),
    [
        (b"default chat template is no longer allowed", True),
        (b"Cannot use chat template functions because tokenizer.chat_template is not set", True),
        (b"model not found", False),
    ],
)
def test_a_refusal_for_want_of_a_chat_template_is_known_by_either_wording(
    body: bytes,
    lacks: bool,  # noqa: FBT001 -- a parameter of the test
):
    assert lacks_chat_template(body) is lacks


def test_what_is_expected_may_stand_anywhere_in_the_text():
    check_text("It is Paris.", "qwen", "Paris")
    with pytest.raises(CompletionError, match=r"smokeTest\.expect"):
        check_text("It is Rome.", "qwen", "Paris")


def test_another_model_of_the_same_beginning_is_another_model():
    with pytest.raises(CompletionError, match="'qwen-2' answered instead"):
        completion_text(b'{"model": "qwen-2", "choices": [{"text": "Paris"}]}', "qwen")
