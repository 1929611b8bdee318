"""What is asked before a plan is done, and which files hold a plan."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import agreeing
from cli import main as entry
from vllm_flows.chart import Chart
from vllm_flows.errors import (
    ConfigurationError,
    DowntimeError,
    PlacementError,
    TimedOutError,
    VllmFlowsError,
)
from vllm_flows.plan import Action, Plan, Step
from vllm_flows.rollout import Rollout, Strategy

CHART = Chart("vllm-stack", (), "0.1.8")
STOPPING = Rollout(Strategy.STOP_FIRST, downtime=True)


def step(model: str, action: Action = Action.UPDATE, **fields: Any) -> Step:
    return Step(model, action, "revision a -> b", **fields)


def blocked(model: str, problem: VllmFlowsError) -> Step:
    return step(model, Action.BLOCKED, problems=(problem,))


@dataclass(frozen=True)
class Decided:
    """As much of a decision as a person is shown."""

    plan: Plan
    changes: bool = True
    allowed: Plan | None = None
    fingerprint: str = field(default="as asked")
    desired: Any = field(
        default_factory=lambda: SimpleNamespace(
            chart=CHART, settings=SimpleNamespace(namespace="vllm")
        )
    )
    state: Any = field(default_factory=lambda: SimpleNamespace(cluster="the cluster's uid"))

    def unsaved(self) -> list[str]:
        return []

    def with_downtime(self) -> Decided:
        assert self.allowed
        return replace(self, plan=self.allowed, fingerprint="with downtime")


class Terminal(io.StringIO):
    """A person who types this, and then presses Ctrl-D."""

    def isatty(self) -> bool:
        return True


Install = Callable[[Decided, str], int]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Give tests `vllm-flows install` on a terminal; it returns the exit code."""
    Path("models.yaml").write_text("- name: a\n  modelURL: org/a\n")
    monkeypatch.setattr("cli.changing.locate_chart", lambda _settings: None)

    def run(decided: Decided, typed: str) -> int:
        monkeypatch.setattr(agreeing, "decide", lambda *_, **__: decided)
        monkeypatch.setattr(sys, "stdin", Terminal(typed))
        monkeypatch.setattr(sys, "argv", ["vllm-flows", "install"])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        return int(ended.value.code or 0)

    return run


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Give tests what the flow was asked for, instead of running it."""
    found: list[dict[str, Any]] = []

    def run_flow(_load: object, **parameters: Any) -> Any:
        found.append(parameters)
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.changing.run_flow", run_flow)
    return found


def test_one_question_after_one_table(
    install: Install, asked_for: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
):
    install(Decided(Plan((step("a"),), "values changed")), "y\n")
    said = capsys.readouterr().err
    assert said.count("Apply this plan? [y/N]") == said.count("[y/N]") == 1
    assert said.count("revision a -> b") == 1
    (asked,) = asked_for
    assert (asked["expected_plan"], asked["allow_downtime"]) == ("as asked", False)


def test_the_one_question_names_who_will_be_silent(
    install: Install, asked_for: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
):
    surge = step("c", rollout=Rollout(Strategy.SURGE, 1))
    stopped = [step(name, rollout=STOPPING) for name in "ab"]
    refused = Plan((blocked("a", DowntimeError("no room")), step("b", rollout=STOPPING), surge), "")
    allowed = Plan((*stopped, surge), "values changed")
    install(Decided(refused, allowed=allowed), "y\n")
    said = capsys.readouterr().err
    assert "nobody answers for a, b. Apply this plan? [y/N]" in said
    assert said.count("[y/N]") == 1
    assert "no room" not in said
    (asked,) = asked_for
    assert (asked["expected_plan"], asked["allow_downtime"]) == ("with downtime", True)


def test_the_one_question_names_who_is_taken_away(
    install: Install, asked_for: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
):
    steps = (step("a", rollout=STOPPING), step("b", Action.DESTROY), step("c", Action.DESTROY))
    install(Decided(Plan(steps, "values changed")), "y\n")
    question = (
        "No longer served: b, c. While they are replaced, nobody answers for a. "
        "Apply this plan? [y/N]"
    )
    assert question in capsys.readouterr().err
    assert len(asked_for) == 1


def test_downtime_is_not_asked_for_where_something_else_stands_against_the_plan(
    install: Install, asked_for: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
):
    steps = (blocked("a", DowntimeError("no room")), blocked("b", PlacementError("too large")))
    assert install(Decided(Plan(steps, "")), "y\n") == 1
    said = capsys.readouterr().err
    assert "2 of 2 models cannot be served; nothing was changed" in said
    assert "[y/N]" not in said
    assert not asked_for


@pytest.mark.parametrize("rollout", [None, STOPPING])
@pytest.mark.parametrize("answer", ["n", ""])
def test_no_means_that_nothing_was_changed(
    install: Install,
    asked_for: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    rollout: Rollout | None,
    answer: str,
):
    plan = Plan((step("a", rollout=rollout),), "values changed")
    assert install(Decided(plan), f"{answer}\n") == 1
    said = capsys.readouterr().err
    assert said.endswith(" nothing was changed\n")
    assert "interrupted" not in said
    assert not asked_for


def test_ctrl_c_at_the_question_ends_with_130(
    install: Install, asked_for: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
):
    assert install(Decided(Plan((step("a"),), "values changed")), "") == 130
    assert capsys.readouterr().err.splitlines()[-1] == "error: interrupted"
    assert not asked_for


def test_without_changes_nothing_is_asked(
    install: Install, asked_for: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
):
    install(Decided(Plan((step("a", Action.NONE),), ""), changes=False), "")
    assert "[y/N]" not in capsys.readouterr().err
    assert len(asked_for) == 1


def test_a_wrong_name_removes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "stdin", Terminal("another\n"))
    monkeypatch.setattr(sys, "argv", ["vllm-flows", "uninstall"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.endswith(" nothing was changed\n")


# --- the file of a plan


@pytest.mark.parametrize("allow_downtime", [True, False])
def test_what_was_saved_is_read_again(*, allow_downtime: bool):
    path = Path("plan.json")
    decided: Any = Decided(Plan((step("a"),), "values changed"))
    agreeing.save(decided, path, allow_downtime=allow_downtime)
    assert agreeing.saved(path, "vllm") == agreeing.Agreement("as asked", allow_downtime)


def test_a_plan_names_its_cluster_and_is_refused_for_another_namespace():
    path = Path("plan.json")
    decided: Any = Decided(Plan((step("a"),), "values changed"))
    agreeing.save(decided, path, allow_downtime=False)
    document = json.loads(path.read_text())
    assert (document["namespace"], document["cluster"]) == ("vllm", "the cluster's uid")
    with pytest.raises(ConfigurationError) as refused:
        agreeing.saved(path, "other")
    assert "was made for namespace vllm, not for other" in refused.value.what
    assert "--namespace vllm install --plan plan.json" in refused.value.next_command


def test_downtime_cannot_be_allowed_to_a_plan_that_is_made_already(
    asked_for: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    Path("models.yaml").write_text("- name: a\n  modelURL: org/a\n")
    monkeypatch.setattr("cli.changing.locate_chart", lambda _settings: None)
    given = ["vllm-flows", "install", "--plan", "plan.json", "--allow-downtime"]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 64
    assert "vllm-flows plan --allow-downtime --out plan.json" in capsys.readouterr().err
    assert not asked_for


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file or directory"),
        ("", "it is empty or no JSON"),
        ("- name: a\n", "it is empty or no JSON"),
        ("\udcff", "it is empty or no JSON"),
        ("[" * 100_000, "it is empty or no JSON"),
        ("[]", "another shape"),
        ("null", "another shape"),
        ('"fingerprint"', "another shape"),
        ('{"models": []}', "another shape"),
        ('{"fingerprint": "a"}', "another shape"),
        ('{"allowDowntime": true}', "another shape"),
        ('{"fingerprint": "", "allowDowntime": true}', "another shape"),
        ('{"fingerprint": null, "allowDowntime": true}', "another shape"),
        ('{"fingerprint": "a", "allowDowntime": "false"}', "another shape"),
    ],
)
def test_a_file_that_holds_no_plan_is_refused_with_how_to_make_one(text: str | None, why: str):
    path = Path("plan.json")
    if text is not None:
        path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError) as refused:
        agreeing.saved(path, "vllm")
    assert refused.value.what == "plan.json holds no plan"
    assert why in refused.value.why
    assert "vllm-flows plan --out" in refused.value.next_command


def test_a_folder_holds_no_plan():
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        agreeing.saved(Path(), "vllm")


# --- the end of a run


def test_the_table_of_a_run_that_failed_is_shown_before_its_error(
    install: Install, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def run_flow(*_: object, **__: object) -> None:
        error = TimedOutError("not ready after 30 m", model="b")
        error.table = [{"model": "a", "result": "answers"}, {"model": "b", "result": "failed"}]
        raise error

    monkeypatch.setattr("cli.changing.run_flow", run_flow)
    assert install(Decided(Plan((step("a"),), "values changed")), "y\n") == 4
    told = capsys.readouterr()
    assert [line.split() for line in told.out.splitlines()][-2:] == [
        ["a", "answers"],
        ["b", "failed"],
    ]
    assert "error: b: not ready after 30 m" in told.err


def test_where_a_plan_cannot_be_written_is_said():
    decided: Any = Decided(Plan((step("a"),), "values changed"))
    with pytest.raises(ConfigurationError) as caught:
        agreeing.save(decided, Path("no folder/x"), allow_downtime=False)
    assert str(caught.value) == (
        "the plan cannot be written to no folder/x\n  why:  No such file or directory\n"
        "  next: ls -ld 'no folder'   (or choose another file)"
    )
