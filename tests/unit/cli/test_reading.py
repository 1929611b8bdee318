"""What `vllm-flows plan` prints as data, and what becomes of `--out`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from cli import main as entry
from vllm_flows.chart import Chart
from vllm_flows.credentials import Credential
from vllm_flows.desired import Desired
from vllm_flows.errors import PlacementError
from vllm_flows.observed import ClusterState, Release, ReleaseState
from vllm_flows.plan import Action, Plan, Step
from vllm_flows.planning import Decision
from vllm_flows.settings import load_settings

NONE = Step("a", Action.NONE, "as it should be")
BLOCKED = Step("a", Action.BLOCKED, "no room", problems=(PlacementError("no room", model="a"),))


def decided(*steps: Step, token: Credential | None = None, **plan: Any) -> Decision:
    chart = Chart("/charts/vllm-stack", (), "0.1.9")
    desired = Desired([], {}, {}, chart, load_settings())
    state = ClusterState(Release(ReleaseState.DEPLOYED, 1, "0.1.8"))
    made = Plan(steps, **{"release_reason": "", **plan})
    return Decision(cast("Any", None), desired, state, made, None, token)


def run(monkeypatch: pytest.MonkeyPatch, decision: Decision, *arguments: str) -> int:
    """Run `vllm-flows plan` that comes to this decision; return its exit code."""
    monkeypatch.setattr("cli.reading.decide", lambda *_, **__: decision)
    monkeypatch.setattr(sys, "argv", ["vllm-flows", "plan", *arguments])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_the_plan_as_data_is_one_object_with_the_release_and_the_notes_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str, read: Any
):
    token = Credential("canary", "VLLM_HF_TOKEN", stored=False)
    drift = "changed outside: Service s is gone"
    decision = decided(NONE, token=token, release_reason=drift, notes=("nodes are not seen",))
    assert run(monkeypatch, decision, "-o", form) == 0
    document = read(capsys.readouterr().out)
    assert list(document) == ["models", "release", "notes", "changes"]
    assert [one["model"] for one in document["models"]] == ["a"]
    assert document["release"] == {"reason": drift, "chart": "vllm-stack", "version": "0.1.9"}
    assert document["notes"] == [
        "nodes are not seen",
        "to be written: Secret hf-token from VLLM_HF_TOKEN",
    ]
    assert document["changes"] is True


def test_the_data_of_a_plan_that_changes_nothing_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, decided(NONE), "-o", "json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["release"]["reason"], document["notes"]) == ("", [])
    assert document["changes"] is False


@pytest.mark.parametrize("before", [None, "another plan"])
def test_with_a_blocked_model_no_plan_is_written_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], before: str | None
):
    path = Path("plan.json")
    if before:
        path.write_text(before)
    assert run(monkeypatch, decided(BLOCKED), "--out", "plan.json") == 1
    assert "no plan was written to plan.json" in capsys.readouterr().err
    assert (path.read_text() if path.exists() else None) == before


def test_of_a_file_that_nobody_asked_for_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run(monkeypatch, decided(BLOCKED)) == 1
    assert "no plan was written" not in capsys.readouterr().err


def test_the_file_of_a_plan_holds_the_same_data_and_what_install_goes_by(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    decision = decided(NONE, release_reason="values changed")
    assert run(monkeypatch, decision, "-o", "json", "--out", "plan.json") == 0
    shown, kept = json.loads(capsys.readouterr().out), json.loads(Path("plan.json").read_text())
    place = {"namespace": "vllm", "cluster": ""}
    assert kept == {"fingerprint": decision.fingerprint, "allowDowntime": False, **place, **shown}
