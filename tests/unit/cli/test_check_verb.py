from __future__ import annotations

import json
from typing import Any

import pytest

from cli import checking
from cli.main import cli
from vllm_flows.health import Checked, Finding, Health, Kind


def told(monkeypatch: pytest.MonkeyPatch, *checked: Checked) -> list[dict[str, Any]]:
    asked: list[dict[str, Any]] = []

    def check(_: object, names: tuple[str, ...], **more: bool) -> Health:
        asked.append({"names": names, **more})
        return Health(0.0, 1.0, checked)

    monkeypatch.setattr(checking, "_checked", check)
    return asked


@pytest.mark.parametrize("kind", [Kind.SILENT, Kind.SLOW_TOKENS, Kind.NOT_MEASURED], ids=str)
def test_check_exits_with_6_unless_all_are_green(
    kind: Kind, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    told(monkeypatch, Checked("qwen", (Finding(kind, "it is so", next_command="look"),)))
    with pytest.raises(SystemExit) as ended:
        cli(["check"], standalone_mode=False)
    assert ended.value.code == 6
    shown = capsys.readouterr()
    assert f"{kind}: it is so" in shown.out
    assert "qwen: next: look" in shown.err


def test_check_exits_with_0_when_all_are_green_also_with_what_is_worth_knowing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    asked = told(monkeypatch, Checked("qwen", (Finding(Kind.NEWER, "a newer one is out"),)))
    cli(["check", "qwen", "--deep", "-o", "json"], standalone_mode=False)
    assert asked == [{"names": ("qwen",), "deep": True}]
    shown = capsys.readouterr()
    assert json.loads(shown.out)["state"] == "green"
    assert "1 model checked" in shown.err


def test_repair_runs_the_flow(monkeypatch: pytest.MonkeyPatch):
    ran: list[dict[str, Any]] = []

    def run_flow(_: object, **parameters: Any) -> Health:
        ran.append(parameters)
        return Health(0.0, 1.0, ())

    monkeypatch.setattr("cli.prefect_runs.run_flow", run_flow)
    cli(["--namespace", "ns", "check", "qwen", "--repair"], standalone_mode=False)
    (found,) = ran
    assert (found["models"], found["namespace"], found["repair"]) == (["qwen"], "ns", True)
