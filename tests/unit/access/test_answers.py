"""What the verdict makes of answers that no well-behaved Hub gives, and of silence."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from vllm_flows.errors import HubUnavailableError
from vllm_flows.hub import LARGEST_CONFIGURATION, Hub
from vllm_flows.hub_client import HubClient
from vllm_flows.observed import Access

if TYPE_CHECKING:
    from conftest import ToldHub

INFO = "/api/models/org/name/revision/main"
CONFIG = {"rfilename": "config.json", "size": 10, "blobId": "b" * 40}
TOKENIZER = {"rfilename": "tokenizer_config.json", "size": 10, "blobId": "b" * 40}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_passing_failure_is_asked_again(told: ToldHub, status: int):
    told.tell_repository()
    told.tell_once(INFO, status)
    assert told.ask().problems == ()
    assert len(told.clock.slept) == 1


def test_a_lasting_failure_is_given_up_and_worth_another_run(told: ToldHub):
    told.tell(INFO, status=503)
    with pytest.raises(HubUnavailableError, match="HTTP 503") as caught:
        told.ask()
    assert caught.value.retryable
    assert caught.value.model == "m"
    assert len(told.clock.slept) == 3


def test_the_wait_that_the_hub_asks_for_is_kept(told: ToldHub):
    told.tell_repository()
    told.tell_once(INFO, 429, Retry_After="17")
    told.ask()
    (slept,) = told.clock.slept
    assert 17 <= slept <= 18


def test_a_shell_that_forbids_to_ask_the_hub_is_named(
    told: ToldHub, monkeypatch: pytest.MonkeyPatch
):
    told.tell_repository()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnavailableError, match="not asked: HF_HUB_OFFLINE") as caught:
        told.ask()
    assert caught.value.next_command.startswith("unset HF_HUB_OFFLINE")
    assert told.clock.slept == []


def test_a_hub_that_is_down_is_worth_another_try(told: ToldHub):
    with pytest.raises(HubUnavailableError, match="does not answer"):
        Hub("http://127.0.0.1:1", None, clock=told.clock).verdict("m", "org/name", "main")
    assert len(told.clock.slept) == 3


def test_a_hub_that_never_answers_is_not_waited_for_for_ever(told: ToldHub):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        asked = Hub(address, None, timeout_seconds=0.05, clock=told.clock)
        with pytest.raises(HubUnavailableError):
            asked.verdict("m", "org/name", "main")


@pytest.mark.parametrize("ending", [INFO, "/auth-check", "/config.json"])
def test_no_request_waits_for_ever(told: ToldHub, ending: str):
    told.tell_repository(CONFIG, gated="auto")
    told.tell("/auth-check", {})
    told.hang(ending)
    asked = Hub(told.url, "hf_token", timeout_seconds=0.05, clock=told.clock)
    with pytest.raises(HubUnavailableError, match="does not answer"):
        asked.verdict("m", "org/name", "main")


@pytest.mark.parametrize("ending", [INFO, "/auth-check", "/config.json"])
def test_a_hub_that_drips_is_not_waited_for_for_ever(told: ToldHub, ending: str):
    told.tell_repository(CONFIG, gated="auto")
    told.tell("/auth-check", {})
    told.drip(ending)
    asked = Hub(told.url, "hf_token", try_seconds=0.1, clock=told.clock)
    with pytest.raises(HubUnavailableError, match=r"no complete answer within 0\.1 s"):
        asked.verdict("m", "org/name", "main")


def test_a_gate_is_asked_even_where_there_is_no_configuration_to_read(told: ToldHub):
    told.tell_repository(gated="auto")
    told.tell("/auth-check", status=403, X_Error_Code="GatedRepo")
    verdict = told.ask("hf_token")
    assert (verdict.gated, verdict.access) == ("auto", Access.NOT_ASKED)


def test_a_file_that_grew_is_not_read_to_its_end(told: ToldHub):
    told.tell("/config.json", b"x" * 8_000_000)
    client = HubClient(told.url, None, 20.0, told.clock)
    assert 10 < len(client.read("org/name", "c" * 40, "config.json", 10)) < 8_000_000


def test_an_address_that_is_no_hub_is_not_asked_again(told: ToldHub):
    told.tell(INFO, status=404)
    (problem,) = told.ask().problems
    assert "HTTP 404" in str(problem)
    assert told.clock.slept == []


def test_a_refusal_with_an_empty_body_says_its_status_and_nothing_more(told: ToldHub):
    told.tell(INFO, status=403)
    (problem,) = told.ask("hf_token").problems
    assert (problem.what, problem.why) == ("the Hub refuses org/name", "HTTP 403")


@pytest.mark.parametrize(
    "body",
    [b"<html>please log in</html>", [], {"id": "org/name"}, {"id": "org/name", "sha": "main"}],
)
def test_a_proxy_that_answers_in_the_hubs_place_is_said(told: ToldHub, body: object):
    told.tell(INFO, body)
    with pytest.raises(HubUnavailableError, match="what answers there is no Hub"):
        told.ask()
    assert told.clock.slept == []


@pytest.mark.parametrize("status", [401, 403, 404, 407, 451])
@pytest.mark.parametrize(
    "page", [b"<html>blocked</html>", "<html>gesperrt für Sie".encode("cp1252")]
)
def test_a_page_of_a_proxy_is_no_refusal_of_the_hub(told: ToldHub, status: int, page: bytes):
    told.tell(INFO, page, status, Content_Type="text/html; charset=utf-8")
    said = f"what answers there is no Hub: HTTP {status} with a page of HTML"
    with pytest.raises(HubUnavailableError, match=said):
        told.ask("hf_token")
    assert told.clock.slept == []


def test_a_page_that_names_the_hubs_reason_is_the_hubs(told: ToldHub):
    told.tell(INFO, b"<html>", 404, Content_Type="text/html", X_Error_Code="RevisionNotFound")
    assert told.ask().access is Access.NO_REVISION


def test_a_page_of_a_proxy_that_cannot_reach_the_hub_is_asked_for_again(told: ToldHub):
    told.tell(INFO, "<html>nicht verfügbar".encode("cp1252"), 503, Content_Type="text/html")
    with pytest.raises(HubUnavailableError, match="answers HTTP 503"):
        told.ask()
    assert len(told.clock.slept) == 3


def test_too_many_requests_are_said_with_the_time_to_come_back(told: ToldHub):
    told.tell(INFO, status=429, Retry_After="17")
    with pytest.raises(HubUnavailableError) as caught:
        told.ask()
    assert caught.value.what == f"the Hub at {told.url} limits requests (HTTP 429)"
    assert caught.value.next_command.startswith("run this again in 17 s, or with a token:")


def test_a_disabled_repository_is_said(told: ToldHub):
    told.tell_repository(disabled=True)
    verdict = told.ask()
    assert verdict.access is Access.DISABLED
    (problem,) = verdict.problems
    assert "the Hub has disabled org/name" in str(problem)


def test_a_private_repository_that_answers_is_granted(told: ToldHub):
    told.tell_repository(private=True)
    assert told.ask("hf_token").access is Access.GRANTED


def test_a_gate_that_hides_even_the_description_counts_as_the_strict_kind(told: ToldHub):
    told.tell(INFO, status=401, X_Error_Code="GatedRepo")
    verdict = told.ask()
    assert (verdict.gated, verdict.access) == ("manual", Access.NO_TOKEN)


def test_an_unclear_401_is_about_the_repository_when_the_token_is_known(told: ToldHub):
    told.tell(INFO, status=401, X_Error_Message="Invalid username or password.")
    told.tell("/api/whoami-v2", {"name": "somebody"})
    (problem,) = told.ask("hf_token").problems
    assert "the Hub has no model org/name" in str(problem)


@pytest.mark.parametrize("status", [401, 429, 500])
def test_an_unclear_401_is_about_the_token_when_the_hub_does_not_know_it(
    told: ToldHub, status: int
):
    told.tell(INFO, status=401, X_Error_Message="Invalid username or password.")
    told.tell("/api/whoami-v2", status=status)
    (problem,) = told.ask("hf_token").problems
    assert "does not accept the token of this run" in str(problem)
    assert told.asked.count("/api/whoami-v2") == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"{", "Expecting property name"),
        (b"[1]", "no JSON object"),
        (b"\xff\xfe\x00", "codec can't decode"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "nested too deeply"),
        (json.dumps({"a": "b" * LARGEST_CONFIGURATION}).encode(), "Unterminated string"),
    ],
)
def test_a_configuration_that_is_none_is_a_problem(told: ToldHub, data: bytes, why: str):
    told.tell_repository(CONFIG)
    told.tell("/config.json", data)
    (problem,) = told.ask().problems
    assert "org/name has a config.json that cannot be read" in str(problem)
    assert why in str(problem)


def test_a_configuration_of_many_megabytes_is_not_even_fetched(told: ToldHub):
    told.tell_repository({**CONFIG, "size": LARGEST_CONFIGURATION + 1})
    (problem,) = told.ask().problems
    assert f"it has {LARGEST_CONFIGURATION + 1} bytes" in str(problem)
    assert not any(path.endswith("config.json") for path in told.asked)


def test_a_broken_tokenizer_configuration_is_noted(told: ToldHub):
    told.tell_repository(TOKENIZER)
    told.tell("/tokenizer_config.json", b"{")
    verdict = told.ask()
    assert verdict.problems == ()
    assert verdict.notes == ("org/name has a tokenizer_config.json that cannot be read",)


def test_code_of_another_repository_is_named_as_such_and_will_be_missed(told: ToldHub):
    told.tell_repository(CONFIG, TOKENIZER)
    told.tell("/config.json", {"auto_map": {"AutoConfig": "other/repo--a.B"}})
    own = {"auto_map": {"AutoTokenizer": ["org/name--tokenization.T", None]}}
    told.tell("/tokenizer_config.json", own)
    verdict = told.ask()
    assert verdict.custom_code == ("other/repo--a.B", "tokenization.T")
    (note,) = verdict.notes
    assert "its code lies in other/repo, which is not fetched" in note


def test_a_license_of_its_owners_own_is_called_by_its_name(told: ToldHub):
    told.tell_repository(cardData={"license": "other", "license_name": "qwen"})
    assert told.ask().license == "qwen"


def test_a_hub_that_tells_no_scan_leaves_it_open_whether_files_are_unsafe(told: ToldHub):
    told.tell_repository(securityRepoStatus=None)
    verdict = told.ask()
    assert verdict.notes == (
        "the Hub tells no security scan: whether a file is unsafe is not known",
    )
    assert not verdict.scanned
    told.tell_repository()
    assert told.ask().scanned


def test_a_scan_that_is_not_finished_is_noted(told: ToldHub):
    told.tell_repository(securityRepoStatus={"scansDone": False, "filesWithIssues": []})
    (note,) = told.ask().notes
    assert "has not finished its security scan" in note


@pytest.mark.parametrize("token", ["hf_canary", "hf_canary\nhf_canary"])
def test_no_text_repeats_the_token(told: ToldHub, token: str):
    quoted = f"Bearer {token.splitlines()[0]}"
    told.tell(INFO, status=403, X_Error_Message=f"no access for {quoted}")
    try:
        text = str(told.ask(token).problems)
    except HubUnavailableError as error:
        text = str(error)
    assert "canary" not in text
