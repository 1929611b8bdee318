"""A secret is known from the moment it is read, and other programs do not get it."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.dynamic.exceptions import ForbiddenError

from cli import prefect_server
from cli.prefect_runs import parameter
from vllm_flows.cluster import Cluster
from vllm_flows.credentials import API_KEY, checked
from vllm_flows.environments import environment_for_others, environment_for_prefect
from vllm_flows.errors import ConfigurationError
from vllm_flows.exec_plugin import _failed
from vllm_flows.model_problems import printable
from vllm_flows.redaction import collect, redacted
from vllm_flows.repository_facts import plain
from vllm_flows.settings import Settings

CANARY = "planted-canary"


class Api:
    """An API server with Secrets, which this account may read or not, and a log that shows one."""

    def __init__(self, *, forbidden: bool = False) -> None:
        self.forbidden = forbidden
        self.asked: list[str] = []

    def get(self, *_: Any, **given: Any) -> Any:
        self.asked.append(given["name"])
        if self.forbidden:
            raise ForbiddenError(SimpleNamespace(status=403, reason="no", body="", headers={}))
        data = {"key": b64encode(f"{CANARY}-of-{given['name']}\n".encode()).decode()}
        return SimpleNamespace(data=json.dumps({"kind": "Secret", "data": data}))

    def request(self, *_: Any, **__: Any) -> Any:
        self.asked.append("log")
        return SimpleNamespace(data=f"given {CANARY}-of-vllm-api-key".encode())


def cluster(api: Api) -> Cluster:
    return Cluster("vllm", "", api)  # type: ignore[arg-type]  # as much of it as is used


@pytest.mark.parametrize("name", ["hf_token", "api_key"])
def test_a_secret_setting_is(name: str):
    Settings.model_validate({name: f" {CANARY} "})
    assert redacted(CANARY) == "***"


def test_the_password_in_any_setting_s_address_is():
    Settings.model_validate({"chart_repository": f"https://me:{CANARY}@charts.example.com"})
    assert redacted(CANARY) == "***"


def test_a_value_that_was_typed_is_even_if_it_does_not_do():
    with pytest.raises(ConfigurationError):
        checked(f"{CANARY} twice", "your input", API_KEY)
    assert redacted(f"{CANARY} twice") == "***"


def test_a_secret_of_the_cluster_is():
    cluster(Api()).get("Secret", "any")
    assert redacted(f"{CANARY}-of-any") == "***"


def test_a_log_shows_none_of_those_that_its_pod_may_have_been_given():
    api = Api()
    made = cluster(api)
    assert made.log("pod") == "given ***"
    made.log("pod")
    assert sorted(api.asked[:2]) == ["hf-token", "vllm-api-key"]
    assert api.asked[2:] == ["log", "log"]


def test_a_log_is_read_also_without_the_right_to_read_secrets():
    assert cluster(Api(forbidden=True)).log("pod").startswith("given")


@pytest.mark.parametrize("shown", [plain, partial(printable, limit=200)])
def test_what_is_cut_shows_no_half_of_a_secret(shown: Callable[[str], str]):
    collect(CANARY)
    for length in range(170, 205):
        assert "planted" not in shown("." * length + CANARY + "." * 300)


def test_nor_do_the_last_words_of_a_login_program():
    collect(CANARY)
    for length in range(380, 405):
        error = _failed("it failed", CANARY + "." * length)
        assert "canary" not in str(error)


def test_other_programs_get_no_secret_setting():
    secret = {"VLLM_HF_TOKEN": "a", "VLLM_API_KEY": "b"}
    others = {"VLLM_NAMESPACE": "c", "PATH": "d"}
    for made in (environment_for_others, environment_for_prefect):
        assert made(secret | {"HF_TOKEN": "a", "HUGGING_FACE_HUB_TOKEN": "a"} | others) == others


def test_the_token_of_another_tool_goes_to_none_but_who_may_need_it():
    vault, prefect = {"VAULT_TOKEN": "a"}, {"PREFECT_API_KEY": "b", "PREFECT_API_AUTH_STRING": "c"}
    assert environment_for_others(vault | prefect) == vault, "a login may come by way of Vault"
    assert environment_for_prefect(vault | prefect) == prefect


def test_nor_an_address_of_ours_that_holds_a_password():
    ours = {"VLLM_PUSHGATEWAY": "http://a:b@c", "VLLM_HUB_ENDPOINT": "http://c"}
    others = {"HTTPS_PROXY": "http://a:b@c"}
    assert environment_for_others(ours | others).keys() == {"VLLM_HUB_ENDPOINT", "HTTPS_PROXY"}


def test_a_prefect_server_of_our_own_gets_no_token_either(monkeypatch: pytest.MonkeyPatch):
    seen: list[dict[str, str]] = []
    monkeypatch.setattr(
        prefect_server.subprocess, "Popen", lambda *_, **given: seen.append(given["env"])
    )
    for name in ("VLLM_HF_TOKEN", "VLLM_API_KEY", "HF_TOKEN", "VAULT_TOKEN"):
        monkeypatch.setenv(name, CANARY)
    prefect_server._start("http://127.0.0.1:4200/api", 4200, ())  # noqa: SLF001 -- what it starts
    (environ,) = seen
    assert CANARY not in environ.values()
    assert environ["PATH"] == os.environ["PATH"]


def test_a_parameter_that_prefect_would_store_holds_no_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("VLLM_CHART", raising=False)
    address = f"https://me:{CANARY}@charts.example.com/a.tgz"
    assert parameter("VLLM_CHART", "vllm/vllm-stack") == "vllm/vllm-stack"
    assert parameter("VLLM_CHART", None) is None
    assert "VLLM_CHART" not in os.environ
    assert parameter("VLLM_CHART", address) is None
    assert os.environ["VLLM_CHART"] == address
