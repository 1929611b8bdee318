"""Judging this machine and the services around it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from vllm_flows.doctor_checks import (
    chart_failed,
    judge_chart,
    judge_helm,
    judge_prefect,
    judge_settings,
    judge_token,
)
from vllm_flows.doctor_findings import State
from vllm_flows.errors import ConfigurationError, ReleaseError, ReleaseUnavailableError
from vllm_flows.hub_refusals import Account
from vllm_flows.settings import Settings
from vllm_flows.settings_sources import SetSetting

SETTINGS = Settings()
PRIVATE = Settings(chart_repository="https://jane:canary@charts.example.com")
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def test_settings_are_told_with_their_sources():
    found = judge_settings(
        [
            SetSetting("VLLM_NAMESPACE", "team", "--namespace"),
            SetSetting("VLLM_HF_TOKEN", "set", ".env"),
        ],
        {},
        None,
    )
    assert found.state is State.OK
    assert found.found.startswith(
        "VLLM_NAMESPACE is team (--namespace); VLLM_HF_TOKEN is set (.env)"
    )
    assert judge_settings([], {}, None).found == "all at defaults"


def test_a_variable_that_nearly_is_a_setting_is_a_warning():
    found = judge_settings([], {"VLLM_NAMSPACE": "VLLM_NAMESPACE"}, None)
    assert found.state is State.WARNING
    assert found.found.startswith("VLLM_NAMSPACE is no setting, VLLM_NAMESPACE is")
    assert found.fix.startswith("unset VLLM_NAMSPACE")


def test_a_wrong_setting_is_a_problem():
    wrong = ConfigurationError("a setting is wrong", why="VLLM_X: no", next_command="correct it")
    found = judge_settings([], {}, wrong)
    assert (found.state, found.found) == (State.PROBLEM, "a setting is wrong: VLLM_X: no")


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("v3.19.0", State.OK),
        ("v4.3.1", State.OK),
        ("v2.17.0", State.PROBLEM),
        ("v30.1.0", State.PROBLEM),
        ("", State.PROBLEM),
    ],
)
def test_helm_3_and_4_do(version: str, state: State):
    assert judge_helm(version).state is state


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ("0.1.8", State.OK),
        ("0.1.12", State.OK),
        ("0.1.7", State.WARNING),
        ("0.1.13", State.WARNING),
        ("0.2.0", State.WARNING),
        ("1.0.0-rc.1", State.WARNING),
    ],
)
def test_a_chart_of_a_version_that_nobody_tried_is_a_warning(version: str, state: State):
    assert judge_chart({"name": "vllm-stack", "version": version}, SETTINGS).state is state


def test_a_version_that_counts_for_nothing_is_a_warning():
    chart = {"name": "vllm-stack", "version": "0.1.8"}
    found = judge_chart(chart, SETTINGS, ["VLLM_CHART_VERSION=0.1.12 counts for nothing"])
    assert found.state is State.WARNING
    assert found.fix.startswith("unset VLLM_CHART_VERSION")


def test_another_chart_is_a_problem():
    found = judge_chart({"name": "nginx", "version": "0.1.8"}, SETTINGS)
    assert found.state is State.PROBLEM


def test_a_chart_that_cannot_be_had_is_told_without_the_password_of_its_repository():
    why = 'Get "https://jane:canary@charts.example.com/index.yaml": refused'
    found = chart_failed(ReleaseError("helm failed", why=why), PRIVATE)
    assert found.state is State.PROBLEM
    assert "charts.example.com" in found.fix
    assert "canary" not in found.found + found.fix
    assert chart_failed(ReleaseUnavailableError("late"), SETTINGS).state is State.UNKNOWN


def test_a_token_that_ends_soon_is_a_warning():
    account = Account("jane", role="read", expires=NOW.replace(day=8))
    found = judge_token(account, "Secret hf-token", "https://huggingface.co", NOW)
    assert found.state is State.WARNING
    assert found.found == "token of jane: may read, until 2026-06-08 (Secret hf-token)"
    later = Account("jane", role="read", expires=NOW.replace(year=2027))
    assert judge_token(later, "x", "https://huggingface.co", NOW).state is State.OK


@pytest.mark.parametrize(
    ("configured", "answer", "state"),
    [
        (True, 200, State.OK),
        (False, 200, State.OK),
        (False, "refused", State.WARNING),
        (True, "refused", State.PROBLEM),
        (True, 401, State.PROBLEM),
        (True, 404, State.PROBLEM),
    ],
)
def test_a_prefect_server_has_to_answer_only_where_one_is_configured(
    *, configured: bool, answer: int | str, state: State
):
    address = "http://jane:canary@127.0.0.1:4200/api"
    found = judge_prefect(address, answer, configured=configured)
    assert found.state is state
    assert bool(found.fix) == (state is not State.OK)
    assert "canary" not in found.found
