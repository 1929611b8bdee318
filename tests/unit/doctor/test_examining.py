"""Asking all at once: what fails or hangs hides nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from vllm_flows import doctor
from vllm_flows.doctor import ORDER, examine
from vllm_flows.doctor_findings import Finding, Question, State
from vllm_flows.doctor_questions import of_cluster, of_this_machine
from vllm_flows.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "doctor.md"


@pytest.fixture
def _no_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing outside this machine is asked."""
    monkeypatch.setenv("KUBECONFIG", str(Path("none").absolute()))
    monkeypatch.setenv("VLLM_HUB_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("VLLM_CHART", "./none")
    monkeypatch.setenv("PATH", "")


def well() -> list[Finding]:
    return [Finding("prefect", State.OK, "")]


@pytest.mark.usefixtures("_no_services")
def test_without_anything_there_is_a_finding_for_each_check_in_their_order():
    found = examine({}, Question(("prefect",), well))
    assert tuple(one.check for one in found) == ORDER
    states = {one.check: one.state for one in found}
    assert states["cluster"] is states["helm"] is states["hub"] is State.PROBLEM
    assert states["settings"] is states["prefect"] is State.OK
    assert states["lock"] is states["hub token"] is State.UNKNOWN


@pytest.mark.usefixtures("_no_services")
def test_a_wrong_setting_hides_no_other_check(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VLLM_ROUTER_REPLICAS", "many")
    found = {one.check: one for one in examine({}, Question(("prefect",), well))}
    assert found["settings"].state is State.PROBLEM
    assert "VLLM_ROUTER_REPLICAS" in found["settings"].found
    assert "no chart in" in found["chart"].found


@pytest.mark.usefixtures("_no_services")
def test_what_never_answers_and_what_breaks_is_unknown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "SECONDS", 0.2)
    over = threading.Event()

    def hangs() -> list[Finding]:
        over.wait()
        return well()

    def breaks() -> list[Finding]:
        raise KeyError("spec")

    for ask, text in ((hangs, "no answer within"), (breaks, "something unexpected")):
        found = {one.check: one for one in examine({}, Question(("prefect",), ask))}
        assert found["prefect"].state is State.UNKNOWN
        assert text in found["prefect"].found
        assert found["settings"].state is State.OK
    over.set()


@pytest.mark.parametrize("token", [None, "hf_token"])
def test_each_check_is_asked_for_once(token: str | None):
    settings = Settings(hf_token=token)
    asked = [*of_this_machine(settings, {}), *of_cluster(None, settings)]  # type: ignore[arg-type]  # nothing is asked
    checks = [check for question in asked for check in question.checks]
    assert sorted([*checks, "cluster", "prefect"]) == sorted(ORDER)


def test_every_check_is_documented():
    page = PAGE.read_text()
    for check in ORDER:
        assert f"| {check} |" in page, check
