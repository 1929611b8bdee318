"""Every run is told, however it ends, and none ends otherwise for that."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import checking
from cli.options import Options
from vllm_flows.errors import LockedError, TimedOutError
from vllm_flows.health import Checked, Health
from vllm_flows.metrics import MODELS, ROLLOUT, Sample, of_rollout
from vllm_flows.metrics_telling import told
from vllm_flows.outage import Outage
from vllm_flows.settings import Settings


def values(folder: Path) -> dict[str, str]:
    """Return the values in all files, by metric and flow."""
    lines = [line for file in folder.glob("*.prom") for line in file.read_text().splitlines()]
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def run(settings: Settings, flow: str, error: BaseException | None = None) -> list[str]:
    """Return what a run says that measured something, and ended so."""
    said: list[str] = []
    clock = iter([100.0, 130.0])
    expected = pytest.raises(type(error)) if error else nullcontext()
    with expected, told(settings, flow, said.append, lambda: next(clock)) as measured:
        measured["some"] = [Sample(MODELS, 3, ("green",))]
        if error:
            raise error
    return said


LOCKED = LockedError("held", next_command="wait")


@pytest.mark.parametrize(
    ("error", "code"), [(None, "0.0"), (LOCKED, "5.0"), (KeyboardInterrupt(), "130.0")], ids=str
)
def test_a_run_is_told_however_it_ends(tmp_path: Path, error: BaseException | None, code: str):
    assert run(Settings(metrics_dir=tmp_path), "deploy", error) == []
    of = '{flow="deploy",namespace="vllm"}'
    found = values(tmp_path)
    assert found[f"vllm_flows_run_exit_code{of}"] == code
    assert found[f"vllm_flows_run_duration_seconds{of}"] == "30.0"
    assert found[f"vllm_flows_measured_timestamp_seconds{of}"] == "130.0"
    assert found['vllm_flows_models{flow="deploy",namespace="vllm",state="green"}'] == "3.0"


def test_a_run_that_goes_on_later_has_not_ended(tmp_path: Path):
    settings = Settings(metrics_dir=tmp_path)
    with pytest.raises(GeneratorExit), told(settings, "update", print, goes_on=(GeneratorExit,)):
        raise GeneratorExit
    assert values(tmp_path) == {}


def test_a_run_with_nothing_to_do_leaves_that_one_failed_and_what_was_lost_of_each_model(
    tmp_path: Path,
):
    settings = Settings(metrics_dir=tmp_path)
    for model, lost in (("qwen", 3), ("llama3", 0)):
        with told(settings, "update", print) as measured:
            measured[ROLLOUT] = of_rollout({model: Outage(asked=9, lost=lost)})
    run(settings, "update", TimedOutError("too long", next_command="look"))
    with told(settings, "update", print):
        pass
    found = values(tmp_path)
    of = 'flow="update",model="{}",namespace="vllm"'
    assert found[f"vllm_flows_rollout_requests_lost{{{of.format('qwen')}}}"] == "3.0"
    assert found[f"vllm_flows_rollout_requests_lost{{{of.format('llama3')}}}"] == "0.0"
    assert (
        found['vllm_flows_run_failed_timestamp_seconds{flow="update",namespace="vllm"}'] == "130.0"
    )
    assert found['vllm_flows_run_success{flow="update",namespace="vllm"}'] == "1.0"


def test_without_a_place_nothing_is_told_and_nothing_imported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("vllm_flows.metrics_telling._tell", None)
    assert run(Settings(), "deploy") == []


def test_a_place_that_cannot_be_told_is_a_warning_and_the_others_are_told(tmp_path: Path):
    settings = Settings(pushgateway="http://me:secret@127.0.0.1:9", metrics_dir=tmp_path)
    (said,) = run(settings, "deploy", LOCKED)
    assert said.startswith(
        "warning: the metrics of this run did not reach the Pushgateway http://127.0.0.1:9: "
    )
    assert values(tmp_path)


def test_a_folder_that_is_not_there_is_told_by_its_own_name(tmp_path: Path):
    folder = tmp_path / "nowhere"
    (said,) = run(Settings(metrics_dir=folder), "deploy")
    assert said.endswith(f" did not reach the folder {folder}: No such file or directory")


def test_after_an_uninstall_nothing_is_told_of_models_any_more(tmp_path: Path):
    settings = Settings(metrics_dir=tmp_path)
    for flow in ("health", "deploy"):
        run(settings, flow)
    run(settings.model_copy(update={"namespace": "other"}), "health")
    run(settings, "uninstall", LOCKED)
    assert len({one for one in values(tmp_path) if "run_success" in one}) == 4
    run(settings, "uninstall")
    assert {one for one in values(tmp_path) if "run_success" in one} == {
        'vllm_flows_run_success{flow="uninstall",namespace="vllm"}',
        'vllm_flows_run_success{flow="health",namespace="other"}',
    }


@pytest.mark.parametrize(("names", "measured"), [((), True), (("qwen",), False)])
def test_the_command_tells_what_it_found_of_all_models_but_not_of_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], *, measured: bool
):
    outcome = SimpleNamespace(health=Health(0.0, 1.0, (Checked("qwen"),)))
    monkeypatch.setenv("VLLM_METRICS_DIR", str(tmp_path))
    for place, stand_in in {
        "session.Session.open": lambda *_: None,
        "health_choosing.chosen": lambda *_: [],
        "health_checking.check_health": lambda *_, **__: outcome,
        "health_keeping.keep": lambda *_, **__: SimpleNamespace(error=None),
    }.items():
        monkeypatch.setattr(f"vllm_flows.{place}", stand_in)
    options: Any = Options(debug=False, namespace=None, models=None, kube_context=None)
    assert checking._checked(options, names, deep=False) is outcome.health  # noqa: SLF001 -- asks nobody
    assert any("run_success" in one for one in values(tmp_path))
    assert any("model_state" in one for one in values(tmp_path)) == measured
