"""What the weights Job makes of a Hub that refuses it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from sandbox.hub.access import TOKEN_WITHOUT_GRANT
from vllm_flows.weights_job import PERMANENT, TEMPORARY
from vllm_flows.weights_order import File

if TYPE_CHECKING:
    from conftest import Volume


@pytest.mark.parametrize("xet", [False, True])
def test_a_gated_repository_without_a_token_is_not_tried_again(volume: Volume, *, xet: bool):
    result = volume.run(replace(volume.order("gated"), xet=xet))
    assert result.code == PERMANENT
    assert result.said["error"] == (
        "the Hub refuses meta-llama/Llama-3.2-3B-Instruct to this token (HTTP 401)"
    )


def test_a_token_without_the_grant_is_not_tried_again(volume: Volume):
    result = volume.run(volume.order("gated"), TOKEN_WITHOUT_GRANT)
    assert result.code == PERMANENT
    assert "(HTTP 403)" in result.said["error"]


def test_a_granted_token_opens_a_gated_repository(volume: Volume):
    order = volume.order("gated")
    assert volume.run(order, "hf_granted").code == 0
    assert volume.is_right(order)


def test_a_revoked_token_is_not_tried_again_and_not_repeated(volume: Volume):
    result = volume.run(volume.order("gated"), "hf_canary")
    assert result.code == PERMANENT
    assert result.said["error"].endswith("to this token (HTTP 401)")
    assert "canary" not in "".join([str(result.said), *result.lines, result.errors])


def test_a_token_that_no_header_can_hold_is_not_repeated(volume: Volume):
    result = volume.run(volume.order("gated"), "hf_canary\nhf_canary")
    assert (result.code, result.said) == (
        PERMANENT,
        {"error": "HF_TOKEN holds characters that no token has"},
    )
    assert "canary" not in result.errors


def test_a_file_that_the_commit_does_not_have_is_not_tried_again(volume: Volume):
    order = volume.order("open")
    order = replace(order, files=(*order.files, File("missing.bin", 5, None, "a" * 40)))
    result = volume.run(order)
    assert result.code == PERMANENT
    assert result.said["error"].startswith("the Hub has no missing.bin in")


def test_a_repository_that_is_not_there_is_not_tried_again(volume: Volume):
    result = volume.run(replace(volume.order("open"), repository="who/what"))
    assert result.code == PERMANENT
    assert "the Hub has no who/what, or does not show it" in result.said["error"]


def test_a_hub_that_is_down_is_worth_another_try(volume: Volume):
    volume.url = "http://127.0.0.1:9"
    order = replace(volume.order("tagged"), at_once=1)
    result = volume.run(order)
    assert result.code == TEMPORARY
    assert "ConnectionRefusedError" in result.said["error"]
    assert result.said["error"].endswith("8 times in a row")
