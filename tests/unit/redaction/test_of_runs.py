"""What Prefect stores of a run: states, artifacts and results, none of them with a secret."""

from __future__ import annotations

import base64
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import Flow, Task
from prefect.serializers import Serializer

import flows
import tasks
from tasks import artifacts
from tasks.masked_pickle import RESULTS
from tasks.running import ONCE, task
from vllm_flows.clean_errors import RedactedError
from vllm_flows.redaction import collect
from vllm_flows.report import Report

CANARY = "planted-canary"


def members(package: Any, kind: type) -> dict[str, Any]:
    """Return all flows, or all tasks, of a package, by the module and their name."""
    names = [f"{package.__name__}.{one.name}" for one in pkgutil.iter_modules(package.__path__)]
    modules = [import_module(name) for name in names]
    return {
        f"{module.__name__}.{name}": found
        for module in modules
        for name, found in vars(module).items()
        if isinstance(found, kind)
    }


@pytest.mark.parametrize("name", members(flows, Flow))
def test_every_flow_stores_its_results_masked(name: str):
    assert members(flows, Flow)[name].result_serializer == RESULTS


def test_all_flows_are_found():
    assert len({flow.name for flow in members(flows, Flow).values()}) >= 6


def test_no_task_is_made_by_prefect_s_own_decorator_and_no_artifact_past_ours():
    for package in (flows, tasks):
        for path in Path(package.__path__[0]).glob("*.py"):
            if path.stem not in {"running", "artifacts"}:
                past_ours = r"from prefect(\.artifacts)? import .*(task\b|artifact)"
                assert not re.search(past_ours, path.read_text()), path


@pytest.mark.parametrize("name", members(tasks, Task))
def test_every_task_keeps_its_errors_from_showing_a_secret(name: str):
    assert members(tasks, Task)[name].fn.__wrapped__


def test_an_error_leaves_a_task_without_it():
    collect(CANARY)

    @task(name="work", **ONCE)
    def work(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(RedactedError, match=r"ValueError: \*\*\*"):
        work.fn(CANARY)


def test_a_stored_result_is_masked_and_is_read_back_by_its_own_description():
    collect(CANARY)
    result = Report([], 3), f"the key is {CANARY}", httpx.Headers({"Authorization": CANARY})
    stored = RESULTS.dumps(result)
    assert CANARY.encode() not in base64.decodebytes(stored)
    again = Serializer.model_validate(RESULTS.model_dump())
    report, text, headers = again.loads(stored)
    assert (report, text) == (Report([], 3), f"the key is {'*' * len(CANARY)}")
    assert headers["Authorization"] == "*" * len(CANARY)


def test_tables_and_bars_show_none(monkeypatch: pytest.MonkeyPatch):
    collect(CANARY)
    sent: list[Any] = []
    for name in ("create_table_artifact", "create_progress_artifact", "update_progress_artifact"):
        monkeypatch.setattr(artifacts, name, lambda *_, **given: sent.append(given))
    rows = [{"model": "a", "gpus": 2, "result": f"it says {CANARY}"}]
    artifacts.publish_table(rows, "plan", CANARY)
    artifacts.publish_progress(None, 2.0, "weights-a", f"at {CANARY}")
    assert sent[0] == {
        "table": [{"model": "a", "gpus": 2, "result": "it says ***"}],
        "key": "plan",
        "description": "***",
    }
    assert sent[1]["description"] == "at ***"
