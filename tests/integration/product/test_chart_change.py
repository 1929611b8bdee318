"""Another chart, whose Deployments select other pods, which Kubernetes lets none of them change."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.integration.product.changing_models import made_chart
from tests.support import asked_often
from vllm_flows.session import Session
from vllm_flows.settings import load_settings

if TYPE_CHECKING:
    from conftest import Product

QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
PHI = "- name: phi4\n  modelURL: microsoft/Phi-4-mini-instruct\n"
DOWNTIME = "  allowDowntime: true\n"
ENGINE, ROUTER = "vllm-qwen3-deployment-vllm", "vllm-deployment-router"
_OFTEN = 10


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """Return the sandbox's chart as a later version, with one more label in every selector."""
    return made_chart(tmp_path / "chart", "0.1.10")


def upgrade(product: Product, chart: Path, *options: str, code: int = 0) -> str:
    """Upgrade to the chart and return what was said."""
    return product.run("upgrade", "--yes", "--chart", str(chart), *options, code=code).stderr


@contextmanager
def asked(product: Product, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Ask the model all the time, over new connections; what was heard is in the list."""
    for name, value in product.environ.items():
        monkeypatch.setenv(name, value)
    session = Session.open(load_settings())

    def alive() -> bool:
        with session.models_api() as api:
            return api.alive("qwen3")

    with asked_often(alive) as heard:
        yield heard


def selectors(product: Product) -> dict[str, dict[str, str]]:
    """Return what each Deployment selects."""
    return {
        one["metadata"]["name"]: one["spec"]["selector"]["matchLabels"]
        for one in product.objects("deployments")
    }


def assert_taken_over(product: Product, *names: str) -> None:
    """Insist that the new Deployments own all there is, and that old pods are gone."""
    found = selectors(product)
    assert set(found) == set(names)
    assert all(labels["part-of"] == "stack" for labels in found.values())
    sets: list[dict[str, Any]] = product.objects("replicasets")
    assert all(one["metadata"].get("ownerReferences") for one in sets)
    assert sum(one["spec"]["replicas"] for one in sets) == len(names)
    product.assert_settled()


def test_what_runs_is_handed_over_to_deployments_that_select_otherwise(
    product: Product, chart: Path, monkeypatch: pytest.MonkeyPatch
):
    product.install(QWEN)
    (before,) = product.engine_pods().values()
    said = product.run("plan", "--chart", str(chart)).stderr
    assert "2 Deployments are made anew, as by this chart they select other pods" in said
    assert f"{ROUTER}, {ENGINE}" in said
    assert "qwen3: surge of 1: old replicas that answer do so until new ones are ready" in said
    with asked(product, monkeypatch) as heard:
        said = upgrade(product, chart)
    assert f"Deployment {ENGINE} deleted without its pods, which serve on" in said
    assert len(heard) > _OFTEN
    assert all(heard)
    assert before not in product.engine_pods().values()
    assert_taken_over(product, ENGINE, ROUTER)
    assert "nothing to change" in upgrade(product, chart)
    versions = product.versions()
    assert "nothing to change" in upgrade(product, chart)
    assert product.versions() == versions
    # And back again.
    with asked(product, monkeypatch) as heard:
        assert "qwen3: answered in" in product.install(QWEN)
    assert all(heard)
    assert "part-of" not in selectors(product)[ENGINE]
    product.assert_settled()


def test_without_room_each_model_that_would_be_silent_is_asked_for_its_consent(
    crowded: Product, chart: Path
):
    crowded.only_free(2)
    crowded.install(QWEN + DOWNTIME, PHI)
    before = crowded.versions()
    said = upgrade(crowded, chart, code=1)
    assert "1 of 2 models cannot be served; nothing was changed" in said
    assert "phi4: no room beside what runs" in said
    assert "qwen3: no room" not in said
    assert crowded.versions() == before
    said = upgrade(crowded, chart, "--allow-downtime")
    for model in ("phi4", "qwen3"):
        assert f"{model}: stop, then start: no replica answers until" in said
        assert f"{model}: answered in" in said
    assert len(crowded.engine_pods()) == 2
    assert all(labels["part-of"] == "stack" for labels in selectors(crowded).values())
    assert "nothing to change" in upgrade(crowded, chart)


@pytest.mark.parametrize(
    "moment",
    [
        f"Deployment {ROUTER} deleted without",
        f"Deployment {ENGINE} deleted without",
        "in helm",
        "release revision",
    ],
)
def test_a_run_killed_in_the_hand_over_is_made_good_by_the_next(
    product: Product, chart: Path, moment: str, monkeypatch: pytest.MonkeyPatch
):
    product.install(QWEN)
    with (
        asked(product, monkeypatch) as heard,
        product.watched("upgrade", VLLM_CHART=str(chart)) as run,
    ):
        if moment == "in helm":
            run.until_helm()
        else:
            run.until(moment)
        run.process.send_signal(signal.SIGSTOP)
        helm = run.helm()
        run.process.kill()
        for process in helm:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        run.process.wait()
        said = upgrade(product, chart)
    assert all(heard)
    assert "changed outside" not in said
    assert "qwen3: answered in" in said
    assert_taken_over(product, ENGINE, ROUTER)
    assert "nothing to change" in upgrade(product, chart)


def test_what_a_killed_hand_over_left_is_taken_away_with_all_else(product: Product, chart: Path):
    product.install(QWEN)
    with product.watched("upgrade", VLLM_CHART=str(chart)) as run:
        run.until(f"Deployment {ENGINE} deleted without")
        run.process.kill()
        run.process.wait()
    said = product.run("uninstall", "--yes", "--delete-weights").stderr
    assert "was left without its Deployment: deleted" in said
    assert not product.objects("deployments,replicasets,pods,secrets,pvc")


def test_a_killed_hand_over_is_taken_back_by_the_chart_of_before_without_a_new_pod(
    product: Product, chart: Path
):
    product.install(QWEN)
    pods = product.engine_pods()
    with product.watched("upgrade", VLLM_CHART=str(chart)) as run:
        run.until(f"Deployment {ENGINE} deleted without")
        run.process.kill()
        run.process.wait()
    said = product.install(QWEN)
    assert "missing Deployments: qwen3" in said
    assert product.engine_pods() == pods
    assert "nothing to change" in product.install(QWEN)


def test_a_helm_that_failed_at_the_selectors_is_made_good(product: Product, chart: Path):
    product.install(QWEN)
    values = product.folder / "values.json"
    values.write_text(product.helm("get", "values", "vllm", "-o", "json"))
    with pytest.raises(subprocess.CalledProcessError):
        product.helm("upgrade", "vllm", str(chart), "--values", str(values))
    assert product.release_statuses() == ["deployed", "failed"]
    product.kubectl("set", "env", f"deployment/{ENGINE}", "HF_HUB_OFFLINE=0")
    said = upgrade(product, chart)
    assert "the last helm run left it failed; changed outside: Deployment" in said
    assert said.count("env[HF_HUB_OFFLINE].value: 1 -> 0") >= 1
    assert f"Deployment {ENGINE} deleted without its pods, which serve on" in said
    assert "nothing to change" in upgrade(product, chart)
    (engine,) = product.objects("deployments", "model=qwen3")
    (container,) = engine["spec"]["template"]["spec"]["containers"]
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in container["env"]


def test_engines_that_a_chart_made_wrong_give_way_to_those_of_the_chart_before(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    product.install(QWEN)
    pods = product.engine_pods()
    bad = made_chart(tmp_path / "bad", "0.1.11", bad=True)
    with asked(product, monkeypatch) as heard:
        said = upgrade(product, bad, code=1)
    assert "helm rollback to revision 1, chart 0.1.8" in said
    assert "serves again, as before; " in said
    assert all(heard)
    assert product.engine_pods() == pods
    assert "part-of" not in selectors(product)[ENGINE]
    assert "nothing to change" in product.install(QWEN)


def test_without_room_wrong_engines_end_before_those_of_the_chart_before_start(
    crowded: Product, tmp_path: Path
):
    crowded.only_free(1)
    crowded.install(QWEN + DOWNTIME)
    bad = made_chart(tmp_path / "bad", "0.1.11", bad=True)
    said = upgrade(crowded, bad, code=1)
    assert "stop, then start: no replica answers until the new ones are ready" in said
    assert "helm rollback to revision 1, chart 0.1.8" in said
    assert "serves again, as before; " in said
    assert "nothing to change" in crowded.install(QWEN + DOWNTIME)
