"""What is said of a Hub that does not answer."""

from __future__ import annotations

import pytest

from vllm_flows.hub_refusals import Question
from vllm_flows.hub_silence import Silence, explain_silence

ANYBODY = Question("m", "a/b", "main", "https://hub")
SOMEBODY = Question("m", "a/b", "main", "https://hub", "VLLM_HF_TOKEN")


@pytest.mark.parametrize(
    ("silence", "what"),
    [
        (Silence("HTTP 503", 503), "the Hub at https://hub answers HTTP 503"),
        (Silence("HTTP 408", 408), "the Hub at https://hub answers HTTP 408"),
        (Silence("HTTP 429", 429), "the Hub at https://hub limits requests (HTTP 429)"),
        (Silence("refused"), "the Hub at https://hub does not answer"),
    ],
)
@pytest.mark.parametrize("question", [ANYBODY, SOMEBODY])
def test_it_is_said_how_the_hub_is_silent(silence: Silence, what: str, question: Question):
    error = explain_silence(silence, question)
    assert error.what == what
    assert error.why
    assert error.next_command
    assert error.model == "m"
    assert error.retryable


@pytest.mark.parametrize(
    ("after", "when"), [(17.0, "in 17 s"), (None, "later"), (float("inf"), "in 24 h 0 min")]
)
def test_who_asked_too_often_is_told_when_to_come_back(after: float | None, when: str):
    silence = Silence("HTTP 429", 429, after)
    assert explain_silence(silence, SOMEBODY).next_command == f"run this again {when}"
    hint = explain_silence(silence, ANYBODY).next_command
    assert hint == f"run this again {when}, or with a token: vllm-flows set-hf-token"


def test_a_hub_that_wants_longer_peace_says_until_when():
    error = explain_silence(Silence("HTTP 503", 503, 300.0), ANYBODY)
    assert error.what == "the Hub at https://hub answers HTTP 503"
    assert error.why == "it wants to be asked again in 5 min 0 s"
