"""The plan as data: what the Hub told, and null for what it did not tell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vllm_flows.errors import AccessError, HubUnavailableError
from vllm_flows.observed import Access, HubFile, Verdict
from vllm_flows.outage import Heard, Outage
from vllm_flows.plan import Action, Plan, Step
from vllm_flows.report import Outcome, models_data, outcome_rows

SHA = "a" * 40
FILES = (HubFile("model.safetensors", 1000),)
REFUSED = AccessError("refused")
UNKNOWN = {
    "gated": None,
    "license": None,
    "bytes": None,
    "safetensors": None,
    "customCode": None,
    "unsafeFiles": None,
}


def row(verdict: Verdict | None, *, download: int = 0) -> dict[str, Any]:
    problems = verdict.problems if verdict else ()
    action = Action.BLOCKED if problems else Action.CREATE
    step = Step("m", action, "", download_bytes=download, verdict=verdict, problems=problems)
    (record,) = models_data(Plan((step,), ""))
    return record


def test_what_the_hub_told_is_there():
    told = Verdict("m", "a/b", SHA, license="mit", files=FILES, custom_code=("m.A",))
    record = row(told, download=1000)
    assert record["downloadBytes"] == 1000
    assert record["access"] == {
        "state": "open",
        "gated": "no",
        "license": "mit",
        "bytes": 1000,
        "safetensors": True,
        "customCode": ["m.A"],
        "unsafeFiles": [],
    }


@pytest.mark.parametrize(
    "access",
    [Access.EXPIRED, Access.INVALID, Access.NO_REPOSITORY, Access.NO_REVISION, Access.SILENT],
)
def test_what_the_hub_did_not_tell_is_unknown_and_not_nothing(access: Access):
    record = row(Verdict("m", "a/b", access=access, problems=(REFUSED,)))
    assert record["downloadBytes"] is None
    assert record["access"] == {"state": str(access), **UNKNOWN}


def test_a_blocked_model_has_no_download_even_where_its_size_is_known():
    told = Verdict("m", "a/b", SHA, "auto", Access.NOT_ASKED, "mit", FILES, problems=(REFUSED,))
    record = row(told)
    assert (record["downloadBytes"], record["access"]["bytes"]) == (None, 1000)


def test_a_gate_that_refuses_first_is_known_to_be_one():
    hidden = Verdict("m", "a/b", gated="manual", access=Access.NO_TOKEN, problems=(REFUSED,))
    assert row(hidden)["access"] == {"state": "no token", **UNKNOWN, "gated": "manual"}


def test_a_gated_repository_is_described_all_but_its_code():
    told = Verdict("m", "a/b", SHA, "auto", Access.NOT_ASKED, "mit", FILES, problems=(REFUSED,))
    access = row(told)["access"]
    assert (access["gated"], access["license"], access["bytes"]) == ("auto", "mit", 1000)
    assert (access["customCode"], access["unsafeFiles"]) == (None, None)


def test_without_a_scan_it_is_not_known_which_files_are_unsafe():
    assert row(Verdict("m", "a/b", SHA, scanned=False))["access"]["unsafeFiles"] is None
    assert row(Verdict("m", "a/b", SHA))["access"]["unsafeFiles"] == []


def test_what_stays_while_the_hub_is_silent_downloads_nothing():
    kept = Verdict("m", "a/b", SHA, access=Access.SILENT, custom_code=("m.A",))
    record = row(kept)
    assert record["downloadBytes"] == 0
    assert record["access"] == {"state": "hub silent", **UNKNOWN, "customCode": ["m.A"]}


def test_the_hubs_silence_is_no_fact_about_the_model():
    silent = HubUnavailableError("silent")
    record = row(Verdict("m", "a/b", access=Access.SILENT, problems=(silent,)))
    assert record["downloadBytes"] is None


def test_a_model_that_goes_downloads_nothing():
    record = row(None)
    assert (record["downloadBytes"], record["access"]) == (0, None)


def test_silence_is_told_of_replaced_models_and_what_was_not_measured_beside_it():
    def outcome(silence: Outage | None) -> Outcome:
        return Outcome("m", "update", SHA, 1, 1, 0.0, 0.1, silence)

    assert "silent for" not in outcome_rows([outcome(None)])[0]
    partly = Outage(13)
    partly.hear(0, Heard.NOT_ASKED)
    partly.hear(50, Heard.ANSWER)
    not_measured = "not measured for 50 s: the API server did not answer, or this run stood still"
    well, nearly = Outage(asked=9), Outage(asked=9, not_measured_seconds=50)
    told = {
        "-": None,
        "13 s": Outage(13, asked=9),
        "never": well,
        f"13 s; {not_measured}": partly,
        f"never; {not_measured}": nearly,
        not_measured: replace(nearly, asked=0),
    }
    rows = outcome_rows([outcome(silence) for silence in told.values()])
    assert [row["silent for"] for row in rows] == list(told)
