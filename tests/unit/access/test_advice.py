"""The Hub asked while a person waits: matches, or nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vllm_flows.hub_advice import HubAdvice
from vllm_flows.observed import Access

if TYPE_CHECKING:
    from conftest import Running, ToldHub


def test_ids_in_which_the_words_occur_are_found(hub: Running):
    advice = HubAdvice(hub.url, None)
    assert advice.search("qwen3", 5) == ["Qwen/Qwen3-4B"]
    assert len(advice.search("mistral", 1)) == 1
    assert advice.search("nothing-like-it", 5) == []
    assert advice.search("", 5) == []
    assert not advice.silent


def test_a_repository_is_looked_at(hub: Running):
    advice = HubAdvice(hub.url, None)
    found, missing = advice.look("Qwen/Qwen3-4B", "main"), advice.look("org/none", "main")
    assert found
    assert found.described
    assert missing
    assert missing.access is Access.NO_REPOSITORY
    assert not advice.silent


def test_a_hub_that_does_not_answer_is_asked_once_and_that_is_no_error(told: ToldHub):
    told.tell("/api/models", status=503)
    advice = HubAdvice(told.url, None)
    assert advice.search("qwen", 5) == []
    assert advice.silent
    assert advice.look("org/name", "main") is None
    assert advice.search("qwen", 5) == []
    assert len(told.asked) == 1


def test_a_hub_that_does_not_answer_about_a_repository_is_asked_once():
    advice = HubAdvice("http://127.0.0.1:1", None)
    assert advice.look("org/name", "main") is None
    assert advice.silent


def test_a_hub_that_refuses_to_search_finds_nothing(told: ToldHub):
    told.tell("/api/models", status=403)
    advice = HubAdvice(told.url, "hf_token")
    assert advice.search("qwen", 5) == []
    assert not advice.silent
    assert "hf_token" not in repr(advice)
