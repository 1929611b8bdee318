from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vllm_flows.chart import Chart, check_chart_version, locate_chart, overruled_version
from vllm_flows.errors import ConfigurationError, MissingProgramError, ReleaseError
from vllm_flows.helm import Helm
from vllm_flows.observed import DIGEST_ANNOTATION, ReleaseState
from vllm_flows.release_rules import release_from
from vllm_flows.settings import load_settings

OURS = {"servingEngineSpec": {"modelSpec": [{"podAnnotations": {DIGEST_ANNOTATION: "x"}}]}}
FORCE = ["--server-side=true", "--force-conflicts"]
THEIRS = {"servingEngineSpec": {"modelSpec": [{"pvcStorage": "50Gi"}]}}


def row(status: str, chart: str = "vllm-stack-0.1.8") -> dict[str, Any]:
    return {"revision": 4, "status": status, "chart": chart}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("deployed", ReleaseState.DEPLOYED),
        ("failed", ReleaseState.FAILED),
        ("superseded", ReleaseState.FAILED),
        ("pending-install", ReleaseState.PENDING_INSTALL),
        ("pending-upgrade", ReleaseState.PENDING_UPGRADE),
        ("pending-rollback", ReleaseState.PENDING_ROLLBACK),
        ("uninstalling", ReleaseState.UNINSTALLING),
        ("uninstalled", ReleaseState.ABSENT),
    ],
)
def test_helms_words_become_a_named_state(status: str, state: ReleaseState):
    release = release_from(row(status), OURS)
    assert (release.state, release.revision, release.chart_version) == (state, 4, "0.1.8")


def test_a_release_that_somebody_else_made_is_unmanaged():
    assert release_from(row("deployed"), THEIRS).state is ReleaseState.UNMANAGED
    assert release_from(row("deployed", "other-1.0"), OURS).state is ReleaseState.UNMANAGED


def test_a_release_without_models_is_nothing_that_we_make():
    assert release_from(row("deployed"), {}).state is ReleaseState.UNMANAGED


def test_the_default_chart_comes_from_its_repository_at_the_version_asked_for():
    chart = locate_chart(load_settings())
    assert chart.reference == "vllm-stack"
    assert chart.arguments[0] == "--repo"
    assert chart.arguments[-2:] == ("--version", "0.1.8")


def test_a_chart_of_the_persons_own_repository_is_left_to_helm():
    assert locate_chart(load_settings(chart="mirror/vllm-stack")).arguments == (
        "--version",
        "0.1.8",
    )


def test_an_oci_reference_is_passed_on():
    chart = locate_chart(load_settings(chart="oci://registry/charts/vllm-stack"))
    assert chart.reference == "oci://registry/charts/vllm-stack"


def test_a_folder_is_taken_as_it_is_with_its_own_version(tmp_path: Path):
    (tmp_path / "Chart.yaml").write_text("name: vllm-stack\nversion: 0.1.12\n")
    chart = locate_chart(load_settings(chart=str(tmp_path)))
    assert (chart.reference, chart.arguments, chart.version) == (str(tmp_path), (), "0.1.12")


def overruled(**given: str) -> list[str]:
    settings = load_settings(**given)
    return overruled_version(settings, locate_chart(settings))


def a_chart(folder: Path) -> str:
    (folder / "Chart.yaml").write_text("name: vllm-stack\nversion: 0.1.12\n")
    return str(folder)


def test_another_version_than_the_folders_own_is_refused_when_it_was_asked_for(tmp_path: Path):
    settings = load_settings(chart=a_chart(tmp_path), chart_version="0.1.9")
    with pytest.raises(ConfigurationError) as refused:
        check_chart_version(settings, "0.1.9")
    assert refused.value.exit_code == 64
    assert refused.value.what == (
        f"chart version 0.1.9 was asked for, and the chart in {tmp_path} is 0.1.12"
    )
    assert "--chart-version" in refused.value.next_command


@pytest.mark.parametrize(("chart", "asked"), [(True, "0.1.12"), (True, None), (False, "0.1.9")])
def test_the_folders_own_version_none_and_one_of_a_repository_may_be_asked_for(
    tmp_path: Path, *, chart: bool, asked: str | None
):
    given = {"chart": a_chart(tmp_path)} if chart else {}
    check_chart_version(load_settings(chart_version=asked, **given), asked)


@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_variable_that_the_folder_overrules_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
):
    if where == "file":
        Path(".env").write_text("VLLM_CHART_VERSION=0.1.9\n")
    else:
        monkeypatch.setenv("VLLM_CHART_VERSION", "0.1.9")
    (note,) = overruled(chart=a_chart(tmp_path))
    assert note == (
        f"VLLM_CHART_VERSION=0.1.9 counts for nothing: the chart in {tmp_path} is 0.1.12, "
        "and a folder is taken as it is"
    )
    assert overruled() == overruled(chart="oci://registry/charts/vllm-stack") == []


@pytest.mark.parametrize("variable", [None, "0.1.12"])
def test_the_default_version_and_an_equal_one_are_no_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
):
    if variable:
        monkeypatch.setenv("VLLM_CHART_VERSION", variable)
    assert overruled(chart=a_chart(tmp_path)) == []


@pytest.mark.parametrize("content", [None, "", "name: x\n", "- 1\n", "a: b: c"])
def test_a_folder_without_a_chart_is_refused(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "Chart.yaml").write_text(content)
    with pytest.raises(ConfigurationError, match="no chart in"):
        locate_chart(load_settings(chart=str(tmp_path)))


def test_a_missing_helm_is_said_with_where_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingProgramError, match="helm is not installed"):
        Helm("vllm", "").release()


def fake_helm(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, body: str) -> Path:
    """Put a helm on PATH that notes its arguments; return the file that has them."""
    noted = folder / "arguments"
    program = folder / "helm"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {noted}\n'
        f'if [ "$1" = version ]; then echo {version}; exit 0; fi\n{body}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return noted


@pytest.mark.parametrize(
    ("version", "options"),
    [("v3.18.4", []), *((four, FORCE) for four in ("v4.0.0", "v4.3.1"))],
)
def test_fields_that_somebody_else_wrote_are_taken_over_by_helm_3_and_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, options: list[str]
):
    noted = fake_helm(tmp_path, monkeypatch, version, "echo '{\"version\": 7}'")
    assert Helm("vllm", "").upgrade(Chart("folder", (), "0.1.8"), {}) == 7
    upgrade = noted.read_text().splitlines()[-1]
    assert upgrade.startswith("upgrade --install vllm folder ")
    assert [word for word in FORCE if word in upgrade.split()] == options


@pytest.mark.parametrize(("asked", "skips"), [({}, True), ({"kinds": True}, False)])
def test_kinds_of_objects_are_made_for_who_asks_for_them_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict[str, bool], *, skips: bool
):
    noted = fake_helm(tmp_path, monkeypatch, "v4.3.1", "echo '{\"version\": 7}'")
    Helm("vllm", "").upgrade(Chart("folder", (), "0.1.8"), {}, **asked)
    assert ("--skip-crds" in noted.read_text().splitlines()[-1].split()) is skips


def test_an_error_of_several_lines_is_told_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    words = 'level=WARN msg="x"\\nError: UPGRADE FAILED: 2 conflicts:\\n- .spec.a\\n- .spec.b\\n'
    fake_helm(tmp_path, monkeypatch, "v4.3.1", f"printf '{words}' >&2; exit 1")
    with pytest.raises(ReleaseError) as failed:
        Helm("vllm", "").upgrade(Chart("folder", (), "0.1.8"), {})
    assert failed.value.why == "UPGRADE FAILED: 2 conflicts: - .spec.a - .spec.b"
