from __future__ import annotations

import json
from typing import Any

from vllm_flows import manifests
from vllm_flows.models import Model
from vllm_flows.observe import (
    complete_commits,
    deployed_models,
    weights_claims,
    weights_nodes,
    with_complete_commit,
)
from vllm_flows.observed import WEIGHTS_ANNOTATION, HubFile, Verdict
from vllm_flows.settings import load_settings

SHA = "0123456789" * 4
VERDICT = Verdict("qwen", "Qwen/Qwen3-4B", SHA, files=(HubFile("a.safetensors", 7),))


def job(*, token: bool = False, nodes: tuple[str, ...] = (), **settings: object) -> dict[str, Any]:
    return manifests.weights_job(VERDICT, load_settings(**settings), nodes, token=token)


def container(**options: Any) -> dict[str, Any]:
    (found,) = job(**options)["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def test_the_namespace_enforces_baseline_and_warns_of_restricted():
    labels = manifests.namespace("vllm")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["pod-security.kubernetes.io/warn"] == "restricted"


def test_the_weights_job_runs_the_engine_image_and_asks_for_no_gpu():
    found = container(model_image="mine/vllm", model_tag="v1")
    assert found["image"] == "mine/vllm:v1"
    assert "nvidia.com/gpu" not in json.dumps(found["resources"])


def test_the_token_reaches_the_job_by_reference_only_when_there_is_one():
    names = [variable["name"] for variable in container()["env"]]
    assert "HF_TOKEN" not in names
    (variable,) = [v for v in container(token=True)["env"] if v["name"] == "HF_TOKEN"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "hf-token", "key": "token"}


def test_one_job_per_model_and_commit():
    assert job()["metadata"]["name"] == "weights-qwen-01234567"


def test_the_longest_model_name_still_makes_valid_object_names():
    longest = "m" * 43
    assert len(manifests.job_name(longest, SHA)) <= 63
    assert len(manifests.claim_name(longest)) <= 63


def test_the_job_is_kept_to_the_nodes_it_is_given():
    affinity = job(nodes=("n2", "n1"))["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["values"] == ["n1", "n2"]
    assert "affinity" not in job()["spec"]["template"]["spec"]


def test_the_program_comes_with_the_list_of_files():
    data = manifests.weights_program(VERDICT)["data"]
    assert json.loads(data["files.json"]) == [{"name": "a.safetensors", "size": 7, "sha256": None}]
    assert "snapshot_download" in data["weights_job.py"]


def test_the_claim_names_a_storage_class_only_when_one_is_set():
    model = Model(name="qwen", modelURL="Qwen/Qwen3-4B", pvcStorage="20Gi")
    spec = manifests.weights_claim(model, load_settings())["spec"]
    assert "storageClassName" not in spec
    assert spec["resources"]["requests"]["storage"] == "20Gi"
    spec = manifests.weights_claim(model, load_settings(storage_class="fast"))["spec"]
    assert spec["storageClassName"] == "fast"


def a_claim(annotations: dict[str, str] | None = None) -> dict[str, Any]:
    made = manifests.weights_claim(Model(name="qwen", modelURL="o/q"), load_settings())
    return {**made, "metadata": {**made["metadata"], "annotations": annotations}}


def test_a_complete_commit_is_remembered_beside_those_before_it():
    first = with_complete_commit(a_claim(), "sha1", 3, 100)
    second = with_complete_commit(a_claim({WEIGHTS_ANNOTATION: first}), "sha2", 4, 200)
    claim = a_claim({WEIGHTS_ANNOTATION: second})
    assert complete_commits(claim) == {"sha1": 100, "sha2": 200}
    assert weights_claims([claim])["qwen"].complete == {"sha1": 100, "sha2": 200}


def test_the_router_is_not_taken_for_a_model():
    router = {"metadata": {"labels": {"environment": "router"}}}
    assert deployed_models([router]) == {}


def node(name: str, gpus: int) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": f"host-{name}"}},
        "status": {"allocatable": {"nvidia.com/gpu": str(gpus)} if gpus else {}},
    }


def engine_pod(model: str, on: str) -> dict[str, Any]:
    return {"metadata": {"labels": {"model": model}}, "spec": {"nodeName": on}}


NODES = [node("cpu", 0), node("small", 1), node("large", 8)]


def test_weights_are_fetched_where_the_engine_could_run():
    found = weights_nodes(NODES, [], "qwen", 1, "ReadWriteOnce")
    assert found == ["host-large", "host-small"]
    assert weights_nodes(NODES, [], "qwen", 4, "ReadWriteOnce") == ["host-large"]


def test_weights_are_fetched_beside_the_running_engine_when_one_node_holds_the_volume():
    pods = [engine_pod("qwen", "small"), engine_pod("other", "large")]
    assert weights_nodes(NODES, pods, "qwen", 1, "ReadWriteOnce") == ["host-small"]
    both = weights_nodes(NODES, pods, "qwen", 1, "ReadWriteMany")
    assert both == ["host-large", "host-small"]


def test_without_a_gpu_node_the_job_may_run_anywhere():
    assert weights_nodes([node("cpu", 0)], [], "qwen", 1, "ReadWriteOnce") == []
