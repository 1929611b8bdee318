from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Product

QWEN = "- name: qwen3\n  modelURL: Qwen/Qwen3-4B\n"
PHI = "- name: phi4\n  modelURL: microsoft/Phi-4-mini-instruct\n"
MISTRAL = "- name: mistral\n  modelURL: mistralai/Mistral-7B-Instruct-v0.3\n"
LLAMA = "- name: llama3\n  modelURL: meta-llama/Llama-3.2-3B-Instruct\n"


def test_without_a_token_a_gated_model_stops_the_run_before_any_write(product: Product):
    said = product.install(QWEN, LLAMA, code=1)
    page = f"{product.sandbox.hub_url}/meta-llama/Llama-3.2-3B-Instruct"
    assert "nothing was changed" in said
    assert f"accept the license at {page}, then: vllm-flows set-hf-token" in said
    namespaces = json.loads(product.kubectl("get", "namespaces", "-o", "json"))["items"]
    assert product.namespace not in {item["metadata"]["name"] for item in namespaces}


def test_with_the_token_every_model_answers_and_the_run_is_in_prefect(product: Product):
    product.set_token()
    product.models(QWEN, LLAMA)
    done = product.run("install", "--yes")
    assert "llama3: answered in" in done.stderr
    assert "qwen3: answered in" in done.stderr
    run_id = done.stderr.split("/runs/flow-run/")[1].split()[0]
    (run,) = product.prefect("flow_runs/filter", flow_runs={"id": {"any_": [run_id]}})
    assert (run["name"], run["state_type"]) == (f"deploy-{product.namespace}", "COMPLETED")
    assert product.sandbox.hub_token not in json.dumps(run)
    tasks = product.prefect("task_runs/filter", flow_runs={"id": {"any_": [run_id]}})
    names = {task["name"] for task in tasks}
    assert {"check access", "observe cluster", "show plan", "helm upgrade"} <= names
    assert {"fetch weights qwen3", "wait until router is ready", "ask all models"} <= names
    artifacts = product.prefect(
        "artifacts/filter",
        artifacts={
            "flow_run_id": {"any_": [run_id]},
            "key": {"any_": [f"models-{product.namespace}"]},
        },
    )
    rows = json.loads(artifacts[0]["data"])
    assert [row["model"] for row in rows] == ["qwen3", "llama3"]
    assert set(rows[0]) >= {"revision", "GPUs", "replicas", "ready in", "answered in"}


def test_objects_have_the_upstream_names_and_labels_and_values_hold_no_secret(product: Product):
    product.set_token()
    product.install(LLAMA, VLLM_API_KEY="key-canary")
    names = {item["metadata"]["name"] for item in product.objects("deployments,services,pvc")}
    assert names == {
        "vllm-llama3-deployment-vllm",
        "vllm-llama3-engine-service",
        "vllm-deployment-router",
        "vllm-router-service",
        "weights-llama3",
    }
    (pod,) = product.objects("pods", "model=llama3")
    assert (
        pod["metadata"]["labels"].items()
        >= {
            "model": "llama3",
            "helm-release-name": "vllm",
            "environment": "test",
            "release": "test",
        }.items()
    )
    assert pod["spec"]["runtimeClassName"] == "nvidia"
    kept = product.helm("get", "values", "vllm") + product.helm("get", "manifest", "vllm")
    assert "key-canary" not in kept
    assert product.sandbox.hub_token not in kept
    assert "HF_TOKEN" not in json.dumps(pod)


def test_installing_again_writes_nothing_and_says_so(product: Product):
    product.install(QWEN, PHI)
    before, pods = product.versions(), product.engine_pods()
    assert "nothing to change; all models answer" in product.install(QWEN, PHI)
    assert product.versions() == before
    assert product.engine_pods() == pods
    assert len(json.loads(product.helm("history", "vllm", "-o", "json"))) == 1


def test_adding_one_model_and_removing_one_touches_only_these_two(product: Product):
    product.install(QWEN, PHI)
    before = product.engine_pods()
    said = product.install(QWEN, MISTRAL)
    assert "plan: mistral: create" in said
    assert "plan: phi4: destroy" in said
    after = product.engine_pods()
    kept = {name for name in before if "qwen3" in name}
    assert {name: before[name] for name in kept} == {
        name: uid for name, uid in after.items() if "qwen3" in name
    }
    claims = {item["metadata"]["name"] for item in product.objects("pvc")}
    assert claims == {"weights-qwen3", "weights-phi4", "weights-mistral"}
    assert not product.objects("deployments", "model=phi4")


def test_a_download_that_was_interrupted_goes_on_where_it_was(product: Product):
    product.hub("rate", bytes_per_second=1_500_000)
    product.models(QWEN)
    with product.start("install", "--yes") as process:
        assert process.stderr
        for line in process.stderr:
            if "% of" in line and " 0 %" not in line:
                break
        said = product.interrupt(process)
    assert process.returncode == 130
    assert "goes on where this one was" in said
    (job,) = product.objects("jobs")
    product.hub("rate", bytes_per_second=None)
    assert "weights Job found" in product.install(QWEN)
    (again,) = product.objects("jobs")
    assert again["metadata"]["uid"] == job["metadata"]["uid"]


def test_an_argument_that_the_engine_does_not_know_ends_the_wait_with_its_words(product: Product):
    wrong = "  vllmConfig: {extraArgs: [--no-such-flag]}\n"
    said = product.install(QWEN + wrong, code=1)
    assert "the container ended with exit code 2" in said
    assert "unrecognized arguments: --no-such-flag" in said
    assert "next: kubectl -n" in said


def test_a_new_revision_on_the_hub_is_fetched_and_served_and_the_old_one_kept(product: Product):
    product.install(QWEN.replace("Qwen3-4B\n", "Qwen3-4B\n  revision: v1.0\n"))
    said = product.install(QWEN)
    assert "plan: qwen3: update (revision" in said
    (claim,) = product.objects("pvc")
    assert len(json.loads(claim["metadata"]["annotations"]["vllm-flows.io/weights"])) == 2


def test_the_api_key_protects_the_endpoint_and_a_new_one_replaces_it(product: Product):
    assert "qwen3: answered in" in product.install(QWEN, VLLM_API_KEY="first-key")
    values = yaml.safe_load(product.helm("get", "values", "vllm"))
    assert values["servingEngineSpec"]["vllmApiKey"] == {
        "secretName": "vllm-api-key",
        "secretKey": "api-key",
    }
    product.run("set-api-key", "--stdin", stdin="second-key")
    said = product.install(QWEN)
    assert "plan: qwen3: restart (the API key changed)" in said
    assert "qwen3: answered in" in said
    assert "nothing to change" in product.install(QWEN)


def test_what_was_changed_by_hand_is_set_right(product: Product):
    product.install(QWEN)
    product.kubectl("scale", "deployment/vllm-qwen3-deployment-vllm", "--replicas=0")
    said = product.install(QWEN)
    assert "changed outside: Deployment vllm-qwen3-deployment-vllm: spec.replicas: 1 -> 0" in said
    assert "qwen3: answered in" in said
    product.kubectl("delete", "deployment", "vllm-deployment-router", "--wait")
    said = product.install(QWEN)
    assert "helm upgrade: missing Deployments: router" in said
    assert "qwen3: answered in" in said


def left_behind(product: Product) -> None:
    """Let phi4 run without the release's knowledge, as a revision that was unlocked leaves it."""
    product.install(QWEN, PHI)
    (engine,) = product.objects("deployments", "model=phi4")
    product.install(QWEN)
    for field in ("uid", "resourceVersion", "managedFields", "creationTimestamp"):
        engine["metadata"].pop(field, None)
    path = product.folder / "engine.json"
    path.write_text(json.dumps({**engine, "apiVersion": "apps/v1", "kind": "Deployment"}))
    product.kubectl("apply", "-f", str(path))


def test_an_engine_that_the_release_does_not_know_goes_with_its_model(product: Product):
    left_behind(product)
    said = product.install(QWEN)
    assert "plan: phi4: destroy" in said
    assert not product.objects("deployments", "model=phi4")
    assert "nothing to change; all models answer" in product.install(QWEN)
    left_behind(product)
    product.run("uninstall", "--yes")
    assert not product.objects("deployments,pods")


def test_a_mistake_that_was_mended_is_not_held_against_the_next_run(product: Product):
    product.install(QWEN + "  vllmConfig: {extraArgs: [--no-such-flag]}\n", code=1)
    assert "qwen3: answered in" in product.install(QWEN)


def test_a_run_that_is_killed_while_helm_works_leaves_a_release_that_can_go_on(product: Product):
    product.models(QWEN)
    with product.start("install", "--yes") as process:
        assert process.stderr
        for line in process.stderr:
            if "helm upgrade" in line:
                break
        process.kill()
    for _ in range(60):
        if "pending" not in product.helm("list", "-o", "json"):
            break
        time.sleep(0.5)
    assert "qwen3: answered in" in product.install(QWEN)


def test_a_token_that_no_header_can_hold_is_refused_and_shown_nowhere(product: Product):
    product.kubectl("create", "namespace", product.namespace)
    product.kubectl("create", "secret", "generic", "hf-token", "--from-literal=token=hf_ca\nnary")
    product.models(LLAMA)
    done = product.run("--debug", "install", "--yes", code=64)
    assert "Secret hf-token holds no usable value" in done.stderr
    assert "nary" not in done.stderr + done.stdout


def test_uninstall_keeps_the_weights_and_installing_again_fetches_nothing(product: Product):
    product.install(QWEN)
    product.run("uninstall", "--yes")
    assert not product.objects("deployments,pods,jobs,services")
    (claim,) = product.objects("pvc")
    said = product.install(QWEN)
    assert "the weights pod" not in said
    assert product.objects("pvc")[0]["metadata"]["uid"] == claim["metadata"]["uid"]
    product.run("uninstall", "--yes", "--delete-weights")
    assert not product.objects("pvc")
    product.run("uninstall", "--yes", "--delete-namespace")
    assert product.namespace not in product.kubectl("get", "namespaces")


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_without_a_terminal_nothing_asks(product: Product, verb: str):
    product.models(QWEN)
    said = product.run(verb, code=64).stderr
    assert f"next: vllm-flows {verb} --yes" in said


def test_plan_shows_what_would_happen_as_data_and_by_exit_code(product: Product):
    product.models(QWEN)
    done = product.run("plan", "-o", "json", "--detailed-exitcode", code=2)
    document = json.loads(done.stdout)
    (row,) = document["models"]
    assert (row["model"], row["action"]) == ("qwen3", "create")
    assert document["release"]["reason"] == "not installed"
    assert document["changes"] is True
