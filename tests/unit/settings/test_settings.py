from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from vllm_flows.durations import parse_duration
from vllm_flows.errors import ConfigurationError
from vllm_flows.settings import load_settings

REFERENCE_DEFAULTS = {
    "VLLM_NAMESPACE": "vllm",
    "VLLM_CHART_VERSION": "0.1.8",
    "VLLM_HELM_TIMEOUT": timedelta(minutes=30),
    "VLLM_MODEL_IMAGE": "vllm/vllm-openai",
    "VLLM_MODEL_TAG": "latest",
    "VLLM_STORAGE_CLASS": "",
    "VLLM_HF_TOKEN": None,
    "VLLM_API_KEY": None,
    "VLLM_ROUTER_ENABLED": True,
    "VLLM_ROUTER_REPLICAS": 1,
    "VLLM_ROUTER_REQUEST_CPU": "100m",
    "VLLM_ROUTER_REQUEST_MEMORY": "256Mi",
    "VLLM_ROUTER_LIMIT_MEMORY": "768Mi",
}


@pytest.mark.parametrize(("variable", "value"), REFERENCE_DEFAULTS.items())
def test_defaults_are_those_of_the_reference_table(variable: str, value: object):
    assert getattr(load_settings(), variable.removeprefix("VLLM_").lower()) == value


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(
    monkeypatch: pytest.MonkeyPatch,
):
    Path(".env").write_text("VLLM_NAMESPACE=from-file\nVLLM_MODEL_TAG=file-tag\n")
    assert load_settings().namespace == "from-file"
    monkeypatch.setenv("VLLM_NAMESPACE", "from-environment")
    assert load_settings().namespace == "from-environment"
    assert load_settings(namespace="from-flag").namespace == "from-flag"
    assert load_settings(namespace=None).model_tag == "file-tag"


def test_no_representation_shows_a_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_HF_TOKEN", "hf_canary")
    monkeypatch.setenv("VLLM_API_KEY", "key-canary")
    settings = load_settings()
    assert "canary" not in f"{settings!r} {settings!s} {settings.model_dump()} "
    assert settings.hf_token
    assert settings.hf_token.get_secret_value() == "hf_canary"


def test_an_empty_time_zone_is_the_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_TIMEZONE", "")
    assert load_settings().timezone == "UTC"


def test_an_empty_token_is_no_token(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_HF_TOKEN", " ")
    assert load_settings().hf_token is None


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        (
            "VLLM_HELM_TIMEOUT",
            "half an hour",
            "VLLM_HELM_TIMEOUT: 'half an hour' is not a duration",
        ),
        ("VLLM_HELM_TIMEOUT", "0s", "VLLM_HELM_TIMEOUT: '0s' leaves no time at all"),
        ("VLLM_NAMESPACE", "Vllm", "VLLM_NAMESPACE: 'Vllm' is not a namespace name"),
        ("VLLM_ROUTER_LIMIT_MEMORY", "1GB", "VLLM_ROUTER_LIMIT_MEMORY: '1GB' is not a quantity"),
        ("VLLM_ROUTER_URL", "http://[bad", "VLLM_ROUTER_URL: 'http://[bad' is not an address"),
        ("VLLM_HUB_ENDPOINT", "hub", "VLLM_HUB_ENDPOINT: 'hub' is not an address"),
        ("VLLM_HUB_ENDPOINT", "", "VLLM_HUB_ENDPOINT: String should have at least 1"),
        ("VLLM_MODEL_TAG", "", "VLLM_MODEL_TAG: String should have at least 1"),
        ("VLLM_ROUTER_REPLICAS", "0", "VLLM_ROUTER_REPLICAS: Input should be greater"),
    ],
)
def test_a_wrong_setting_is_named_with_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
):
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert said in str(caught.value)
    assert caught.value.exit_code == 64


def test_a_wrong_secret_is_not_repeated_in_the_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_HF_TOKEN", "hf_canary")
    monkeypatch.setenv("VLLM_ROUTER_REPLICAS", "many")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("1h30m", 5400), ("90s", 90), ("1h", 3600), ("2m5s", 125)]
)
def test_durations_are_written_as_helm_takes_them(text: str, seconds: int):
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("variable", ["VLLM_HUB_ENDPOINT", "VLLM_ROUTER_URL"])
@pytest.mark.parametrize(
    "address", ["http://me:canary@host", "me:canary@host", "http://me:c/anary@h"]
)
def test_a_password_in_a_wrong_address_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, variable: str, address: str
):
    monkeypatch.setenv(variable, address)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert variable in str(caught.value)
    assert "anary" not in str(caught.value)


def test_a_folder_in_the_place_of_the_file_is_said():
    Path(".env").mkdir()
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load_settings()
