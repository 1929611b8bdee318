"""The Hub's adapter, with the real huggingface_hub, against the sandbox's Hub on 127.0.0.1."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
import uvicorn

from sandbox.hub.access import TOKEN_WITHOUT_GRANT
from sandbox.hub.app import Hub as SandboxHub
from sandbox.hub.app import build_app
from sandbox.hub.repository import Store
from vllm_flows.errors import HubUnavailableError
from vllm_flows.hub import Hub, needed_files
from vllm_flows.observed import HubFile, Verdict

GATED = "meta-llama/Llama-3.2-3B-Instruct"
OPEN = "Qwen/Qwen3-4B"
TOKEN = "hf_granted"


@dataclass
class Running:
    """A Hub that listens."""

    url: str
    server: SandboxHub

    def ask(self, repository: str, revision: str = "main", token: str | None = None) -> Verdict:
        return Hub(self.url, token).verdict("m", repository, revision)

    def problem(self, repository: str, revision: str = "main", token: str | None = None) -> str:
        return str(self.ask(repository, revision, token).problem)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = SandboxHub(Store(tmp_path_factory.mktemp("hub")), TOKEN)
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(build_app(server), log_level="warning", timeout_graceful_shutdown=1)
    web = uvicorn.Server(config)
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
    thread.start()
    yield Running(f"http://127.0.0.1:{listener.getsockname()[1]}", server)
    web.should_exit = True
    thread.join()
    listener.close()


def test_an_open_model_is_granted_with_its_commit_files_and_license(hub: Running):
    verdict = hub.ask(OPEN)
    assert verdict.problems is None
    assert (len(verdict.commit), verdict.gated, verdict.license) == (40, "no", "apache-2.0")
    assert "config.json" in {file.name for file in verdict.files}
    assert verdict.total_bytes > 1_000_000


def test_a_tag_stands_for_an_older_commit(hub: Running):
    assert hub.ask(OPEN, "v1.0").commit != hub.ask(OPEN).commit
    assert hub.ask(OPEN, hub.ask(OPEN).commit).commit == hub.ask(OPEN).commit


def test_a_gated_model_without_a_token_names_the_page_and_the_command(hub: Running):
    text = hub.problem(GATED)
    assert "is gated and there is no token" in text
    assert f"accept the license at {hub.url}/{GATED}, then: vllm-flows set-hf-token" in text


def test_a_gated_model_with_a_token_without_the_grant_names_the_page(hub: Running):
    text = hub.problem(GATED, token=TOKEN_WITHOUT_GRANT)
    assert "this token has no access to it" in text
    assert f"accept the license at {hub.url}/{GATED}, then run this again" in text


def test_a_gated_model_with_the_grant_is_granted(hub: Running):
    assert hub.ask(GATED, token=TOKEN).problem is None


@pytest.mark.parametrize("repository", [OPEN, GATED])
def test_a_token_that_the_hub_does_not_know_is_said_and_not_repeated(hub: Running, repository: str):
    text = hub.problem(repository, token="hf_canary")
    assert "the Hub does not accept the token" in text
    assert "canary" not in text


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_misspelt_model_is_said_with_the_field_to_correct(hub: Running, token: str | None):
    text = hub.problem("Qwen/Qwen3-4", token=token)
    assert "the Hub has no model Qwen/Qwen3-4" in text
    assert "correct `modelURL`" in text


def test_a_revision_that_does_not_exist_is_said(hub: Running):
    assert "Qwen/Qwen3-4B has no revision 'nightly'" in hub.problem(OPEN, "nightly")


def test_a_hub_that_is_down_is_worth_another_try():
    with pytest.raises(HubUnavailableError) as caught:
        Hub("http://127.0.0.1:1", None).verdict("m", OPEN, "main")
    assert caught.value.retryable


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_fails_is_worth_another_try(hub: Running, status: int):
    httpx.post(f"{hub.url}/_sandbox/fail", json={"status": status, "count": 1})
    with pytest.raises(HubUnavailableError, match=f"HTTP {status}"):
        hub.ask(OPEN)


def test_an_address_that_is_no_hub_is_not_asked_again(hub: Running):
    verdict = Hub(hub.url + "/no/hub", None).verdict("m", OPEN, "main")
    assert "HTTP 404" in str(verdict.problems)


def test_a_hub_that_never_answers_is_not_waited_for_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(HubUnavailableError):
            Hub(address, None, timeout_seconds=0.2).verdict("m", OPEN, "main")


def test_no_representation_of_the_hub_shows_the_token():
    assert "canary" not in repr(Hub("http://hub", "hf_canary"))


def names(*files: str) -> set[str]:
    return {file.name for file in needed_files(HubFile(name, 1) for name in files)}


def test_pickles_are_left_out_beside_safetensors_and_kept_without():
    assert names("model.safetensors", "pytorch_model.bin") == {"model.safetensors"}
    assert names("pytorch_model.bin", "config.json") == {"pytorch_model.bin", "config.json"}


def test_the_same_weights_in_other_forms_are_left_out():
    found = names(
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "consolidated.safetensors",
        "original/consolidated.00.pth",
        "model.gguf",
        "onnx/model.onnx",
        "tokenizer.json",
    )
    assert found == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "tokenizer.json",
    }


def test_consolidated_weights_are_kept_where_there_are_no_others():
    assert "consolidated.safetensors" in names("consolidated.safetensors", "params.json")
