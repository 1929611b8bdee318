from __future__ import annotations

import ast
import base64
import io
import json
import sys
import zipfile
from dataclasses import replace
from typing import Any

from vllm_flows import weights_manifests as manifests
from vllm_flows.models import Model
from vllm_flows.observed import HubFile, Verdict
from vllm_flows.settings import load_settings
from vllm_flows.weights_manifests import WeightsOrder
from vllm_flows.weights_program import weights_archive

SHA = "0123456789" * 4
PLAIN = WeightsOrder()
VERDICT = Verdict("qwen", "Qwen/Qwen3-4B", SHA, files=(HubFile("a.safetensors", 7, None, "b"),))


def a_model(**fields: Any) -> Model:
    return Model(name="qwen", modelURL="Qwen/Qwen3-4B", **fields)


def job(
    order: WeightsOrder = PLAIN, model: Model | None = None, **settings: object
) -> dict[str, Any]:
    return manifests.weights_job(model or a_model(), VERDICT, load_settings(**settings), order)


def pod(order: WeightsOrder = PLAIN, **options: Any) -> dict[str, Any]:
    found = job(order, **options)["spec"]["template"]["spec"]
    assert isinstance(found, dict)
    return found


def environment(order: WeightsOrder = PLAIN, **settings: object) -> dict[str, Any]:
    (container,) = pod(order, **settings)["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


def test_the_weights_job_runs_the_engine_image_and_asks_for_no_gpu():
    (found,) = pod(model_image="mine/vllm", model_tag="v1")["containers"]
    assert found["image"] == "mine/vllm:v1"
    assert "nvidia.com/gpu" not in json.dumps(found["resources"])


def test_the_token_reaches_the_job_by_reference_only_when_there_is_one():
    assert "HF_TOKEN" not in environment()
    variable = environment(WeightsOrder(token=True))["HF_TOKEN"]
    assert variable["secretKeyRef"] == {"name": "hf-token", "key": "token"}


def test_one_job_per_model_and_commit():
    assert job()["metadata"]["name"] == "weights-qwen-01234567"


def test_the_longest_model_name_still_makes_valid_object_names():
    longest = "m" * 43
    assert len(manifests.job_name(longest, SHA)) <= 63
    assert len(manifests.claim_name(longest)) <= 63


def expressions(**options: Any) -> list[dict[str, Any]]:
    affinity = pod(**options)["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    found: list[dict[str, Any]] = term["matchExpressions"]
    return found


def test_the_job_is_kept_to_the_nodes_it_is_given_and_to_the_models_labels():
    assert "affinity" not in pod()
    (one,) = expressions(order=WeightsOrder(nodes=("n2", "n1")))
    assert one["values"] == ["n1", "n2"]
    labels = a_model(nodeSelector={"pool": "gpu"})
    both = expressions(order=WeightsOrder(nodes=("n1",)), model=labels)
    assert [one["key"] for one in both] == ["pool", "kubernetes.io/hostname"]


def test_the_program_comes_with_the_list_of_files():
    made = manifests.weights_program(VERDICT)
    files = [{"name": "a.safetensors", "size": 7, "sha256": None, "blob_id": "b"}]
    assert json.loads(made["data"]["files.json"]) == files
    (program,) = pod()["containers"]
    assert program["command"] == ["python3", "/vllm-flows/weights.pyz"]
    assert base64.b64decode(made["binaryData"]["weights.pyz"]) == weights_archive()


def test_the_program_is_one_small_file_with_all_that_it_imports():
    with zipfile.ZipFile(io.BytesIO(weights_archive())) as archive:
        sources = {name: archive.read(name).decode() for name in archive.namelist()}
    names = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for source in sources.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    ours = {name for name in names if name.startswith("vllm_flows")}
    assert {f"{name.replace('.', '/')}.py" for name in ours} <= set(sources)
    foreign = {name.partition(".")[0] for name in names - ours}
    assert foreign <= {*sys.stdlib_module_names, "huggingface_hub"}
    assert len(weights_archive()) < 100_000
    assert weights_archive() == weights_archive()


def test_what_must_stay_on_the_volume_is_told_to_the_program():
    order = WeightsOrder(keep=("b" * 40, "a" * 40), before="c" * 40, budget=1000)
    told = environment(order, weights_files_at_once=8)
    assert told["WEIGHTS_KEEP"] == f"{'a' * 40} {'b' * 40}"
    assert (told["WEIGHTS_BEFORE"], told["WEIGHTS_BUDGET"]) == ("c" * 40, "1000")
    assert (told["WEIGHTS_AT_ONCE"], told["WEIGHTS_XET"]) == ("8", "0")


def test_the_job_tolerates_what_its_engine_does_and_is_marked_by_it():
    assert pod()["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    mine = {"key": "team", "operator": "Equal", "value": "a", "effect": "NoExecute"}
    assert pod(WeightsOrder(tolerations=(mine,)))["tolerations"] == [mine]
    assert mark(job(WeightsOrder(tolerations=(mine,)))) != mark(job())


def test_xet_is_given_more_memory():
    (plain,), (xet,) = pod()["containers"], pod(weights_xet=True)["containers"]
    assert plain["resources"]["limits"] == {"memory": "2Gi"}
    assert xet["resources"]["limits"] == {"memory": "4Gi"}


def test_the_pod_meets_pod_security_baseline_and_with_a_user_restricted():
    plain, restricted = pod(), pod(weights_user=1000)
    for found in (plain, restricted):
        assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert found["automountServiceAccountToken"] is False
        assert "hostPath" not in json.dumps(found)
    assert restricted["securityContext"]["runAsNonRoot"] is True
    assert restricted["securityContext"]["fsGroup"] == 1000
    context = restricted["containers"][0]["securityContext"]
    assert context == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def mark(made: dict[str, Any]) -> str:
    return str(made["metadata"]["annotations"]["vllm-flows.io/job-digest"])


def test_a_job_is_marked_by_what_it_runs_as_whom_and_on_which_kind_of_node():
    plain = mark(job())
    assert plain != mark(job(model_tag="v2"))
    assert plain != mark(job(weights_user=1000))
    assert plain != mark(job(model=a_model(nodeSelector={"pool": "gpu"})))
    assert plain != mark(job(WeightsOrder(claim="another")))
    other = replace(VERDICT, files=(HubFile("b.safetensors", 7, None, "b"),))
    assert plain != mark(manifests.weights_job(a_model(), other, load_settings(), PLAIN))


def test_a_job_is_not_marked_by_the_hosts_which_are_told_from_its_pod():
    one, two = job(WeightsOrder(nodes=("a",))), job(WeightsOrder(nodes=("b", "a")))
    assert mark(one) == mark(two)
    assert manifests.hosts_of(one) == {"a"}
    assert manifests.hosts_of(two) == {"a", "b"}
    assert manifests.hosts_of(job()) == frozenset()
    assert manifests.hosts_of(job(model=a_model(nodeSelector={"pool": "gpu"}))) == frozenset()


def test_the_claim_names_a_storage_class_only_when_one_is_set():
    model = a_model(pvcStorage="20Gi")
    spec = manifests.weights_claim(model, load_settings())["spec"]
    assert "storageClassName" not in spec
    assert spec["resources"]["requests"]["storage"] == "20Gi"
    spec = manifests.weights_claim(model, load_settings(storage_class="fast"))["spec"]
    assert spec["storageClassName"] == "fast"


def test_a_job_that_reads_all_again_is_told_so_and_marked_as_the_same():
    again = WeightsOrder(recheck="1234")
    assert mark(job(again)) == mark(job())
    assert environment(again)["WEIGHTS_RECHECK"] == "1234"
