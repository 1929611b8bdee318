"""The verbs that repair and maintain, on a real API server with real controllers and helm."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import yaml

from deployments.catalogue import PREFECT_FILE
from tests.integration.product.changing_models import deployed_commit
from tests.terminal import on_terminal

if TYPE_CHECKING:
    from conftest import Product

    from tests.integration.product.watched import Watched

REPOSITORY = "microsoft/Phi-4-mini-instruct"
PHI = f"- name: phi4\n  modelURL: {REPOSITORY}\n"
QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
_PATIENCE = 120.0
_DIGITS = 8


def new_commit(product: Product) -> str:
    """Make a commit with other weights; return its sha."""
    body = {"repo": REPOSITORY, "kind": "weights"}
    url = f"{product.sandbox.hub_url}/_sandbox/commit"
    return str(httpx.post(url, json=body, trust_env=False).raise_for_status().json()["sha"])


def claim(product: Product, model: str = "phi4") -> tuple[set[str], list[str]]:
    """Return the commits that are complete by the claim's record, and those that answered."""
    (found,) = product.objects("pvc", f"vllm-flows.io/model={model}")
    notes = found["metadata"]["annotations"]
    return set(json.loads(notes["vllm-flows.io/weights"])), notes["vllm-flows.io/served"].split()


def on_volume(product: Product) -> set[str]:
    """Return the commits of which the model's volume holds files."""
    (found,) = product.objects("pvc", "vllm-flows.io/model=phi4")
    (volume,) = [
        one["spec"]["hostPath"]["path"]
        for one in json.loads(product.kubectl("get", "pv", "-o", "json"))["items"]
        if one["metadata"]["name"] == found["spec"]["volumeName"]
    ]
    return {path.name for path in Path(volume).glob("hub/models--*/snapshots/*")}


def killed_in_helm(run: Watched) -> None:
    """Kill a run and its helm while helm changes the release."""
    helms = run.until_helm()
    time.sleep(0.4)
    run.process.send_signal(signal.SIGSTOP)
    for helm in helms:
        helm.kill()
    run.process.kill()
    run.process.wait()
    psutil.wait_procs(helms, timeout=10)


def test_after_a_good_update_what_served_before_comes_back_and_its_line_is_told(product: Product):
    product.install(PHI)
    before = deployed_commit(product)
    after = new_commit(product)
    product.install(PHI)
    assert deployed_commit(product) == after
    code, said = on_terminal(product, "n\n", "rollback")
    assert (code, deployed_commit(product)) == (1, after)
    assert f"{after[:_DIGITS]} -> {before[:_DIGITS]}" in said
    said = product.run("rollback", "--yes").stderr
    assert deployed_commit(product) == before
    assert "phi4: answered in" in said
    assert f"phi4: revision: {before}" in said
    assert claim(product)[1][:2] == [before, after]
    product.models(f"{PHI}  revision: {before}\n")
    assert "nothing to change" in product.run("install", "--yes").stderr

    product.run("prune", "--keep", "1", "--yes")
    assert claim(product)[0] == on_volume(product) == {before}
    refused = product.run("rollback", "--yes", code=1).stderr
    assert f"the weights of {after[:_DIGITS]} are no longer on its volume" in refused


def test_what_neither_runs_nor_served_before_goes_also_when_the_run_is_killed(product: Product):
    product.install(PHI)
    first = deployed_commit(product)
    kept = []
    for _ in range(2):
        kept.append(new_commit(product))
        product.install(PHI)
    assert claim(product)[0] == {first, *kept}
    assert "there is no terminal" in product.run("prune", code=64).stderr
    with product.watched("prune") as run:
        run.until("the weights pod")
        run.process.kill()
        run.process.wait()
    assert claim(product)[0] == set(kept)
    product.run("prune", "phi4", "--yes")
    assert claim(product)[0] == on_volume(product) == set(kept)
    assert "nothing to remove" in product.run("prune", "--yes").stderr
    assert "there are volumes of: phi4" in product.run("prune", "nobody", code=64).stderr


def test_a_volume_of_a_model_that_is_neither_listed_nor_deployed_goes_by_name(product: Product):
    product.install(PHI)
    product.install(QWEN)
    code, said = on_terminal(product, "yes\n", "prune", "--volumes")
    assert (code, "nothing was changed" in said) == (1, True)
    assert len(product.objects("pvc")) == 2
    code, said = on_terminal(product, f"{product.namespace}\n", "prune", "--volumes")
    assert code == 0, said
    assert [one["metadata"]["name"] for one in product.objects("pvc")] == ["weights-qwen3"]


def test_what_a_dead_run_left_is_taken_away(product: Product):
    product.install(PHI)
    assert "nothing to unlock" in product.run("unlock").stderr
    new_commit(product)
    with product.watched() as run:
        killed_in_helm(run)
    assert product.lease_holder()
    code, said = on_terminal(product, "y\n", "unlock")
    assert code == 0, said
    assert "left behind by" in said
    assert product.lease_holder() == ""
    assert product.release_statuses()[-1] == "deployed"
    assert "nothing to unlock" in product.run("unlock", "--yes").stderr


def test_a_lock_in_use_is_taken_by_force_alone_and_its_run_changes_nothing_more(product: Product):
    product.install(PHI)
    new_commit(product)
    product.hub("rate", bytes_per_second=100_000)
    with product.watched() as run:
        run.until("% of 8 MB")
        refused = product.run("unlock", "--yes", code=5).stderr
        assert "is locked: held by" in refused
        before = deployed_commit(product)
        product.run("unlock", "--force", "--yes")
        product.hub("rate", bytes_per_second=None)
        assert run.ended() == 5
    assert deployed_commit(product) == before


def test_the_device_plugin_is_a_release_of_its_own_made_only_where_none_is(product: Product):
    chart, place = product.folder / "chart", f"{product.namespace}-gpus"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: plugin\nversion: 0.0.1\n")
    (chart / "templates" / "all.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: plugin}\n"
        "data: {class: {{ .Values.runtimeClassName | quote }}}\n"
    )
    chosen = ["--yes", "--chart", str(chart), "--namespace", place]
    said = product.run("device-plugin", "install", *chosen).stderr
    assert "no plugin to install: nodes offer GPUs by one that is there" in said
    said = product.run("device-plugin", "install", "--force", *chosen).stderr
    assert "gpu-node-1 offers 8 nvidia.com/gpu" in said
    assert "as it should be" in product.run("device-plugin", "install", *chosen).stderr
    made = json.loads(product.kubectl("-n", place, "get", "configmap", "plugin", "-o", "json"))
    assert made["data"] == {"class": "nvidia"}
    shown = product.run("device-plugin", "status", "-o", "json", VLLM_DEVICE_PLUGIN_NAMESPACE=place)
    assert json.loads(shown.stdout)[0]["gpus"] == 8
    assert "deployed, chart 0.0.1" in shown.stderr
    product.kubectl("delete", "namespace", place, "--wait=false")


def test_the_flows_are_registered_twice_for_a_pool_that_was_missing(product: Product):
    product.deployment()  # the sandbox's own `vllm-flows serve` was first, and has the names
    for made in (True, False):
        said = product.run("deploy-flows", "--yes", "--work-pool", "workers").stderr
        assert ("work pool workers made" in said) is made
    found = product.prefect("deployments/filter", work_pools={"name": {"any_": ["workers"]}})
    try:
        declared = yaml.safe_load(PREFECT_FILE.read_text())["deployments"]
        apart = f"-{product.namespace}"
        assert {one["name"] for one in found} == {one["name"] + apart for one in declared}
        for one in found:
            (step,) = one["pull_steps"]
            (directory,) = [options["directory"] for options in step.values()]
            assert directory == str(product.folder)
    finally:
        for one in found:
            product.prefect(f"deployments/{one['id']}", "DELETE")
