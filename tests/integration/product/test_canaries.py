"""Planted secrets leave by no way: every flow, well and badly, and everything it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pytest

from sandbox.processes import log_file
from tests.canaries import Canaries, of_release
from tests.integration.product.changing_models import commit, phi
from tests.integration.product.planting import (
    Story,
    account,
    all_flows,
    look_at,
    other_secrets,
    with_plugin,
)
from tests.integration.product.watching import watched_processes

if TYPE_CHECKING:
    from conftest import Product

GATED = "- name: llama3\n  modelURL: meta-llama/Llama-3.2-3B-Instruct\n"
_HERE = Path(__file__).parent
_STORED_SECONDS = 2.0
"""The server writes what it was sent a little later."""
HELM = """\
#!/bin/sh
[ "$1" = upgrade ] || exec HELM "$@"
echo "Error: UPGRADE FAILED: exec: $(cat TOKEN) and KEY are refused" >&2
exit 1
"""


@pytest.fixture
def story(product: Product) -> Iterator[Story]:
    """Plant the secrets: Hub token, API key, login, and whatever else is a secret setting."""
    product.kubectl("create", "namespace", product.namespace)
    planted = {
        "hf token": product.sandbox.hub_token,
        "api key": f"canary+key/{token_hex(8)}",
        "login": account(product, "strong"),
        "login without rights": account(product, "weak"),
        "what the plugin is given": f"canary-login-{token_hex(8)}",
        "refused hf token": f"hf_canary{token_hex(8)}",
        "proxy": f"canary-proxy-{token_hex(8)}",
        "VAULT_TOKEN": f"hvs.canary{token_hex(8)}",
    }
    planted |= {name: f"canary-{token_hex(8)}" for name in other_secrets()}
    canaries = Canaries(planted)
    kubeconfig = with_plugin(product, planted)
    environ = {
        "KUBECONFIG": str(kubeconfig),
        "VLLM_HF_TOKEN": planted["hf token"],
        "VLLM_API_KEY": planted["api key"],
        "VAULT_TOKEN": planted["VAULT_TOKEN"],
        "HTTPS_PROXY": f"http://me:{planted['proxy']}@127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
        "VLLM_SANDBOX_HF_TOKEN": "",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        **{name: planted[name] for name in other_secrets()},
    }
    yield Story(product, canaries, environ)
    product.kubectl("delete", "clusterrolebinding", f"strong-{product.namespace}")
    product.kubectl("delete", "namespace", gpu_place(product), "--ignore-not-found", "--wait=false")


def gpu_place(product: Product) -> str:
    return f"{product.namespace}-gpus"


def parameters(product: Product) -> dict[str, dict[str, Any]]:
    """Return with what each flow is called. A flow that is missing here makes the test fail."""
    here = {"namespace": product.namespace}
    chart = {"chart": str(product.folder / "chart"), "namespace": gpu_place(product)}
    file = {"models_file": str(product.folder / "models.yaml")}
    return {
        "deploy": here | file,
        "update": here | file | {"model": "phi4"},
        "watch": here | file,
        "health": here | file,
        "uninstall": here,
        "rollback": here | file,
        "prune": here | file,
        "unlock": here,
        "device-plugin": chart | {"runtime_class": True},
    }


def plugin_chart(folder: Path) -> None:
    (folder / "chart" / "templates").mkdir(parents=True)
    (folder / "chart" / "Chart.yaml").write_text("apiVersion: v2\nname: plugin\nversion: 0.0.1\n")


def test_no_planted_secret_leaves_by_any_way(story: Story):
    begin = datetime.now(UTC)
    product = story.product
    assert parameters(product).keys() == all_flows().keys()
    plugin_chart(product.folder)
    with watched_processes(lambda process: look_at(process, story)):
        well(story)
        badly(story)
        served_by_prefect(story)
        look_through_cluster(story)
        story.flow("uninstall", parameters(product)["uninstall"]).ended(well=True)
    look_through_prefect(story)
    assert story.canaries.hits == []
    assert story.seen >= {"helm", "log-in"}
    states = states_of_flows(product, begin)
    assert states.keys() >= all_flows().keys()
    for name in all_flows():
        assert states[name] >= {"COMPLETED", "FAILED"}, name


def well(story: Story) -> None:
    """Every flow, so that it changes something where it can."""
    product = story.product
    story.run("set-hf-token", "--stdin", stdin=story.canaries.planted["hf token"])
    story.run("set-api-key", "--stdin", stdin=story.canaries.planted["api key"])
    product.models(phi(), GATED)
    story.run("--debug", "install", "--yes")
    product.models(phi("main", "requestMemory: 20Gi"), GATED)
    story.run("upgrade", "--yes")
    story.run("rollback", "--yes")
    story.run("status", "-o", "json")
    story.run("logs", "phi4", "--tail", "all")
    story.run("doctor")
    chosen = parameters(product)
    for name in ("update", "watch", "health", "prune", "unlock", "device-plugin"):
        story.flow(name, chosen[name]).ended(well=True)


def badly(story: Story) -> None:
    """Each flow crashes and is refused; the Hub, helm and an engine do their worst."""
    product, chosen = story.product, parameters(story.product)
    shutil.copy(_HERE / "crashing.py", product.folder / "sitecustomize.py")
    crash = {"PYTHONPATH": str(product.folder), "CRASH": "patient"}
    crashes = [story.flow(name, given, **crash) for name, given in chosen.items()]
    for one in crashes:
        one.ended(well=False)
    story.flow("deploy", chosen["deploy"], **crash | {"CRASH": "observe"}).ended(well=False)
    story.run("--debug", "install", "--yes", code=1, **crash)
    (product.folder / "sitecustomize.py").unlink()
    weak = [
        story.flow(name, given, KUBECONFIG=str(product.folder / "weak"))
        for name, given in chosen.items()
    ]
    for one in weak:
        one.ended(well=False)
    refused = story.canaries.planted["refused hf token"]
    story.run("--debug", "install", "--yes", code=1, VLLM_HF_TOKEN=refused)
    helm_fails(story)


def helm_fails(story: Story) -> None:
    """Have helm fail with the secrets in its words."""
    product = story.product
    program = product.folder / "programs" / "helm"
    program.parent.mkdir()
    real = str(product.sandbox.programs["helm"])
    text = HELM.replace("HELM", real).replace("TOKEN", str(product.folder / "token"))
    program.write_text(text.replace("KEY", story.canaries.planted["api key"]))
    program.chmod(0o700)
    path = f"{program.parent}{os.pathsep}{product.environ['PATH']}"
    product.models(phi("main", "requestMemory: 24Gi"), GATED)
    story.run("--debug", "upgrade", "--yes", code=1, PATH=path)


def served_by_prefect(story: Story) -> None:
    """Have Prefect start a run, which meets an engine that ends with its key in its last words."""
    product = story.product
    product.models(phi(commit(product, "tells")), GATED)
    given = parameters(product)["deploy"]
    path = f"deployments/{product.deployment()}/create_flow_run"
    run = product.prefect(path, parameters=given)["id"]
    assert product.flow_run_until(run, {"COMPLETED", "FAILED", "CRASHED"}) == "FAILED"
    assert product.flow_run_until(run, set(), said="the key *** does not do")
    log = log_file(product.sandbox, "prefect").read_bytes()
    story.canaries.search("the log of what Prefect serves", log)


def look_through_cluster(story: Story) -> None:
    """Look through all objects but the two Secrets, and through what helm keeps."""
    product, canaries = story.product, story.canaries
    kinds = product.kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    objects = json.loads(product.kubectl("get", ",".join(kinds), "-o", "json"))["items"]
    for one in objects:
        name = f"{one['kind']} {one['metadata']['name']}"
        if name not in {"Secret hf-token", "Secret vllm-api-key"}:
            canaries.search(name, json.dumps(one))
        if one.get("type") == "helm.sh/release.v1":
            canaries.search(f"the release in {name}", of_release(one))
    for what in ("all", "values", "manifest"):
        canaries.search(f"helm get {what}", product.helm("get", what, "vllm"))
    assert any(where.startswith("the release in") for where in canaries.searched)


def look_through_prefect(story: Story) -> None:
    """Look through the server's database and all results, once it has stored what was sent."""
    folder = Path(story.product.environ["PREFECT_HOME"])
    time.sleep(_STORED_SECONDS)
    story.canaries.search_files(folder)
    assert any(where.endswith("prefect.db") for where in story.canaries.searched)
    assert any("(result" in where for where in story.canaries.searched)


def states_of_flows(product: Product, begin: datetime) -> dict[str, set[str]]:
    """Return how runs of each flow ended since then."""
    names = {one["id"]: one["name"] for one in product.prefect("flows/filter")}
    since = {"start_time": {"after_": begin.isoformat()}}
    states: dict[str, set[str]] = {}
    for run in product.prefect("flow_runs/filter", flow_runs=since):
        states.setdefault(names[run["flow_id"]], set()).add(run["state_type"])
    return states
