"""The Hub's verdict, with the real huggingface_hub, against the sandbox's Hub on 127.0.0.1."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from sandbox.hub.access import (
    TOKEN_EXPIRED,
    TOKEN_PENDING,
    TOKEN_REFUSED,
    TOKEN_WITHOUT_GRANT,
    TOKEN_WITHOUT_SCOPE,
)
from vllm_flows.hub import Hub
from vllm_flows.observed import Access, Description

if TYPE_CHECKING:
    from conftest import Running

GATED = "meta-llama/Llama-3.2-3B-Instruct"
GATED_AUTO = "mistralai/Ministral-8B-Instruct-2410"
OPEN = "Qwen/Qwen3-4B"
TOKEN = "hf_granted"


def test_an_open_model_is_described_completely(hub: Running):
    verdict = hub.ask(OPEN)
    assert verdict.problems == ()
    assert (verdict.access, verdict.gated, verdict.license) == (Access.OPEN, "no", "apache-2.0")
    assert len(verdict.commit) == 40
    assert verdict.config["model_type"] == "qwen3"
    assert verdict.parameters == {"BF16": 4_022_468_096}
    assert verdict.total_bytes > 1_000_000
    assert {"config.json", "model.safetensors.index.json"} <= {file.name for file in verdict.files}
    assert "README.md" not in {file.name for file in verdict.files}
    assert all(len(file.blob_id) == 40 for file in verdict.files)
    assert all(file.sha256 for file in verdict.files if file.name.endswith(".safetensors"))


def test_what_is_known_of_a_commit_is_not_read_again(hub: Running):
    newest, before = hub.ask(OPEN).commit, hub.ask(OPEN, "v1.0").commit
    told = Description({"model_type": "told"}, {}, ("modeling.py",))
    asked = Hub(hub.url, None)
    known = asked.verdict("m", OPEN, "main", {newest: told, before: told})
    assert (known.config, known.custom_code) == (told.config, told.custom_code)
    assert (known.commit, known.parameters) == (newest, {"BF16": 4_022_468_096})
    other = asked.verdict("m", OPEN, "main", {before: told, newest: Description()})
    assert other.config["model_type"] == "qwen3"


def test_a_tag_stands_for_an_older_commit(hub: Running):
    newest = hub.ask(OPEN).commit
    assert hub.ask(OPEN, "v1.0").commit != newest
    assert hub.ask(OPEN, newest).commit == newest


def test_a_gated_model_without_a_token_names_the_page_and_the_command(hub: Running):
    verdict = hub.ask(GATED)
    (problem,) = verdict.problems
    assert (verdict.access, verdict.gated) == (Access.NO_TOKEN, "manual")
    assert "is gated and there is no token" in str(problem)
    assert f"accept the license at {hub.url}/{GATED}, then: vllm-flows set-hf-token" in str(problem)


def test_what_the_hub_tells_of_a_gated_model_is_known_without_access(hub: Running):
    verdict = hub.ask(GATED_AUTO)
    assert verdict.gated == "auto"
    assert len(verdict.commit) == 40
    assert verdict.files
    assert verdict.config == {}


@pytest.mark.parametrize(
    ("token", "access", "texts"),
    [
        (
            TOKEN_WITHOUT_GRANT,
            Access.NOT_ASKED,
            [
                "this token has no access to it",
                "not accepted with the account sandbox-nogate",
                f"/{GATED}, then run this again",
            ],
        ),
        (
            TOKEN_PENDING,
            Access.PENDING,
            ["request for access", "is pending", "/settings/gated-repos"],
        ),
        (TOKEN_REFUSED, Access.REFUSED, ["was refused", f"/{GATED}/discussions"]),
        (
            TOKEN_WITHOUT_SCOPE,
            Access.NO_SCOPE,
            ["may not read gated repositories", "/settings/tokens"],
        ),
        (TOKEN_EXPIRED, Access.EXPIRED, ["is expired", "make a new one at"]),
        ("hf_canary", Access.INVALID, ["does not accept the token", "make a new one at"]),
    ],
)
def test_each_refusal_of_a_gated_model_has_its_own_problem(
    hub: Running, token: str, access: Access, texts: list[str]
):
    verdict = hub.ask(GATED, token=token)
    assert verdict.access is access
    (problem,) = verdict.problems
    assert problem.model == "m"
    assert problem.next_command
    for text in texts:
        assert text in str(problem)
    assert token not in str(problem)


def test_a_gated_model_with_the_grant_is_granted(hub: Running):
    verdict = hub.ask(GATED, token=TOKEN)
    assert verdict.problems == ()
    assert verdict.access is Access.GRANTED
    assert verdict.config["model_type"] == "llama"


def test_a_token_without_the_scope_still_reads_open_models(hub: Running):
    assert hub.ask(OPEN, token=TOKEN_WITHOUT_SCOPE).access is Access.OPEN


@pytest.mark.parametrize("token", ["hf_canary", TOKEN_EXPIRED])
def test_a_bad_token_is_said_also_of_an_open_model_and_not_repeated(hub: Running, token: str):
    text = hub.problem(OPEN, token=token)
    assert "token" in text
    assert token not in text


@pytest.mark.parametrize(("token", "hidden"), [(None, "needs a token"), (TOKEN, "cannot see it")])
def test_a_misspelt_model_is_said_with_the_field_to_correct(
    hub: Running, token: str | None, hidden: str
):
    text = hub.problem("Qwen/Qwen3-4", token=token)
    assert "the Hub has no model Qwen/Qwen3-4" in text
    assert hidden in text
    assert "correct `modelURL`" in text


def test_a_revision_that_does_not_exist_is_said(hub: Running):
    assert "Qwen/Qwen3-4B has no revision 'nightly'" in hub.problem(OPEN, "nightly")


def test_the_token_is_looked_up_once_however_many_models_are_refused(hub: Running):
    asked = Hub(hub.url, TOKEN_WITHOUT_GRANT)
    before = hub.server.requests["whoami"]
    with ThreadPoolExecutor(8) as pool:
        repositories = [GATED, GATED_AUTO] * 4
        verdicts = list(pool.map(lambda each: asked.verdict("m", each, "main"), repositories))
    assert {verdict.access for verdict in verdicts} == {Access.NOT_ASKED}
    assert hub.server.requests["whoami"] == before + 1


def test_custom_code_is_named_and_fetched_only_where_there_is_some(hub: Running):
    verdict = hub.ask("microsoft/Phi-3-mini-4k-instruct")
    assert verdict.custom_code == (
        "configuration_phi3.Phi3Config",
        "modeling_phi3.Phi3ForCausalLM",
    )
    assert "modeling_phi3.py" in {file.name for file in verdict.files}


def test_a_file_that_the_scan_calls_unsafe_is_named(hub: Running):
    verdict = hub.ask("sandbox/opt-125m-flagged")
    assert verdict.unsafe_files == ("pytorch_model.bin",)
    assert verdict.parameters == {}


def test_a_large_models_own_numbers_are_told(hub: Running):
    verdict = hub.ask("Qwen/Qwen2.5-72B-Instruct")
    assert verdict.parameters == {"BF16": 72_706_203_648}
    assert verdict.total_bytes < 5_000_000


def test_no_representation_of_the_hub_shows_the_token():
    assert "canary" not in repr(Hub("http://hub", "hf_canary"))
