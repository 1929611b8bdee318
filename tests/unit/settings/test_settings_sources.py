from __future__ import annotations

from pathlib import Path

import pytest

from vllm_flows.addresses import without_credentials
from vllm_flows.errors import ConfigurationError
from vllm_flows.settings import load_settings, usable_settings
from vllm_flows.settings_sources import misspelt, set_settings


def test_each_setting_is_told_from_where_it_counts():
    found = set_settings(
        {"namespace": "flag", "kube_context": None},
        {"VLLM_NAMESPACE": "environment", "VLLM_CHART": "./chart", "PATH": "/bin"},
        {"VLLM_CHART": "other", "VLLM_MODEL_TAG": "v1", "VLLM_HF_TOKEN": "canary"},
    )
    assert found == [
        ("VLLM_NAMESPACE", "flag", "--namespace"),
        ("VLLM_CHART", "./chart", "environment"),
        ("VLLM_MODEL_TAG", "v1", ".env"),
        ("VLLM_HF_TOKEN", "set", ".env"),
    ]


def test_what_is_set_to_nothing_is_told_as_empty():
    found = set_settings({}, {"VLLM_API_KEY": "", "VLLM_RUNTIME_CLASS": ""}, {})
    assert [one.text for one in found] == ["empty", "empty"]


def test_passwords_in_addresses_are_not_told():
    found = set_settings({}, {"VLLM_CHART_REPOSITORY": "https://jane:canary@example.com"}, {})
    assert found[0].text == "https://***@example.com"
    assert without_credentials("http://me:can@ary@h/x and //k@i") == "http://***@h/x and //***@i"
    assert without_credentials("see https://example.com/a@b") == "see https://example.com/a@b"


def test_only_what_nearly_is_a_setting_counts_as_misspelt():
    names = ["VLLM_NAMSPACE", "VLLM_API_KEYS", "VLLM_USE_V1", "VLLM_HOST_IP", "VLLM_CHART", "PATH"]
    assert misspelt(names) == {"VLLM_API_KEYS": "VLLM_API_KEY", "VLLM_NAMSPACE": "VLLM_NAMESPACE"}


def test_wrong_settings_leave_the_others_usable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_ROUTER_REPLICAS", "many")
    monkeypatch.setenv("VLLM_MODEL_TAG", "v1")
    with pytest.raises(ConfigurationError):
        load_settings(namespace="No Name")
    settings = usable_settings(namespace="No Name")
    assert (settings.namespace, settings.router_replicas, settings.model_tag) == ("vllm", 1, "v1")


def test_a_file_that_cannot_be_read_leaves_the_environment_usable(monkeypatch: pytest.MonkeyPatch):
    Path(".env").write_bytes(b"VLLM_MODEL_TAG=\xff")
    monkeypatch.setenv("VLLM_NAMESPACE", "team")
    assert usable_settings().namespace == "team"
